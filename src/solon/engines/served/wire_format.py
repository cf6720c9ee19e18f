"""The OpenAI wire format: request bodies, and answers read strictly.

What is not plainly a finished answer is malformed, never a short or empty answer: another number of choices, no text,
an unknown reason for the end, another model than before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from solon.config.settings import SamplingParams
from solon.engines.base import Completion, Finish
from solon.engines.served.message_rendering import ReplyStart
from solon.http.retry_policy import FailureKind, RequestFailure, failure_in, malformed

CHAT_STOPS = 4
"""The most stop strings that a chat request takes; texts are cut at all of them here as well."""
_SEEDS = 1 << 31
"""Servers read seeds as 32 bits."""
_FINISHES: Mapping[str, Finish] = {
    "stop": Finish.END,
    "eos": Finish.END,
    "length": Finish.LENGTH,
    "content_filter": Finish.ERROR,
}
_TOO_LONG = (
    "maximum context length",  # OpenAI, vLLM, OpenRouter, Mistral, DeepSeek
    "context_length_exceeded",  # OpenAI and Groq, as the code
    "longer than the maximum model length",  # vLLM
    "exceeds the available context size",  # llama.cpp
    "exceed_context_size_error",  # llama.cpp, as the type
    "exceed context window of",  # llama-cpp-python
    "`inputs` must have less than",  # TGI
    "`inputs` tokens + `max_new_tokens` must be",  # TGI
    "longer than the model's context length",  # SGLang
    "exceeds the context length",  # Ollama
    "the model is loaded with context length",  # LM Studio
    "prompt is too long",  # Anthropic
    "maximum prompt length",  # xAI
    "exceeds the maximum number of tokens allowed",  # Gemini
    "its context is smaller than",  # `TokenCounter.refuse_cut`
)
"""What servers say of a prompt that is too long for them, in lower case."""


class Interface(StrEnum):
    """Which of the two requests is made."""

    COMPLETIONS = "completions"
    """A text is continued."""
    CHAT = "chat"
    """Messages are answered."""

    @property
    def path(self) -> str:
        """Added to a server's address."""
        return "/chat/completions" if self is Interface.CHAT else "/completions"


class LetterReading(StrEnum):
    """How a server gives the log-probabilities of options."""

    TOP = "top log-probs"
    """Of the most probable next tokens."""
    ECHO = "prompt log-probs"
    """Of the tokens of the prompt, which the option is then a part of."""


class PromptForm(StrEnum):
    """How a text is sent for completion."""

    TEXT = "text"
    TOKENS = "tokens"
    """As token ids, made here."""
    WITHOUT_OPENING = "text without its opening"
    """As text, and the server adds the tokens that open every text."""


@dataclass(frozen=True, slots=True)
class ServerAbilities:
    """What a server takes and gives, as its answers to short requests show."""

    interface: Interface
    extras: Mapping[str, Any] = field(default_factory=dict)
    """Fields that every request has besides the standard ones."""
    readings: frozenset[LetterReading] = frozenset()
    top: int = 20
    """The most probable tokens to ask for."""
    start: ReplyStart = ReplyStart.ASKED_FOR
    form: PromptForm = PromptForm.TEXT
    limit: str = "max_tokens"
    """The name of the field with the most tokens."""


@dataclass(frozen=True, slots=True)
class WrittenChoice:
    """One completion as the server gave it."""

    text: str
    finish: Finish
    thinking: str
    raw: Mapping[str, Any]


def generation_body(
    model: str,
    prompt: Mapping[str, Any],
    sampling: SamplingParams,
    able: ServerAbilities,
    *,
    seed: int,
    stop: Sequence[str] = (),
    samples: int = 1,
) -> dict[str, Any]:
    """The request for `samples` completions of a prompt, which is given as its fields."""
    stops = [each for each in dict.fromkeys(stop) if each]
    if able.interface is Interface.CHAT:
        stops = stops[:CHAT_STOPS]
    return {
        "model": model,
        **prompt,
        able.limit: sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": seed % _SEEDS,
        **({"stop": stops} if stops else {}),
        **({"n": samples} if samples > 1 else {}),
        **able.extras,
    }


def top_fields(interface: Interface, top: int) -> dict[str, Any]:
    """The fields that ask for the most probable tokens at each place."""
    return {"logprobs": True, "top_logprobs": top} if interface is Interface.CHAT else {"logprobs": top}


def choices_in(answer: Any, count: int = 1) -> list[WrittenChoice]:
    """The completions of an answer in order; raises the failure of `malformed` unless there are `count` whole ones.

    Raises the failure that the answer names, where it names one (`failure_in`).
    """
    if isinstance(answer, dict) and (failure := failure_in(answer.get("error"))):
        raise failure
    found = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise malformed("answers without choices")
    if len(found) != count:
        raise malformed(f"answers with {len(found)} choices in place of {count}")
    places = [each.get("index", place) for place, each in enumerate(found)]
    if sorted(map(str, places)) != sorted(map(str, range(count))):
        raise malformed("answers with choices that are not numbered one after the other")
    return [_choice(each) for _, each in sorted(zip(places, found, strict=True), key=lambda pair: int(pair[0]))]


def finds_too_long(failure: RequestFailure) -> bool:
    """Whether a server refused a request because its prompt is too long."""
    return failure.kind is FailureKind.REFUSED and any(words in failure.why.lower() for words in _TOO_LONG)


def model_in(answer: Any) -> str:
    """The name of the model that an answer says it is from; empty if it says none."""
    name = answer.get("model") if isinstance(answer, dict) else None
    return name if isinstance(name, str) else ""


def completion_of(choice: WrittenChoice, stops: Sequence[str], tokens: int | None) -> Completion:
    """The completion of a choice, cut at the first of the stop strings and stripped."""
    if choice.finish is Finish.ERROR:
        return Completion("", Finish.ERROR)
    places = [place for stop in stops if stop and (place := choice.text.find(stop)) >= 0]
    stopped = bool(places) or (choice.finish is Finish.END and isinstance(choice.raw.get("stop_reason"), str))
    finish = Finish.STOP if stopped else choice.finish
    text = choice.text[: min(places, default=len(choice.text))].strip()
    return Completion(text, finish, thinking=choice.thinking, tokens_written=tokens)


def _choice(found: Mapping[str, Any]) -> WrittenChoice:
    if failure := failure_in(found.get("error")):
        raise failure
    finish = _FINISHES.get(str(found.get("finish_reason")))
    if finish is None:
        raise malformed(f"answers with the finish_reason {str(found.get('finish_reason'))!r:.40}")
    message = found.get("message", found)
    if not isinstance(message, dict):
        raise malformed("answers with a message that is not an object")
    text = message.get("content" if "message" in found else "text")
    thinking = next((each for name in ("reasoning_content", "reasoning") if (each := message.get(name))), "")
    if text is None and (thinking or finish in (Finish.ERROR, Finish.LENGTH)):
        text = ""  # a reasoning model that is cut off before its reply; its first tokens may be no text at all
    if not isinstance(text, str) or not isinstance(thinking, str):
        raise malformed("answers without a text")
    return WrittenChoice(text, finish, thinking.strip(), found)
