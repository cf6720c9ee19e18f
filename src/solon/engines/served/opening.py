"""Opens a model behind servers: finds out what they can do by a few short requests, and never assumes it.

Every address is asked for its models; those that do not answer are remarked, as long as one answers. Then one field
after the other is added to a request of one token, and kept when the server takes it. Whether a server continues an
assistant's message, or reads the tokens that are sent, is seen from the number of prompt tokens that it reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from solon import prompts
from solon.config.recipe import EngineSettings, RenderingKind, Thinking
from solon.config.served_model import OPENAI, ServedModel
from solon.config.settings import SamplingParams
from solon.conversation import Prompt, Rendering, TranscriptRendering
from solon.engines.served.message_rendering import MessageRendering, ReplyStart
from solon.engines.served.model_names import ModelNames
from solon.engines.served.option_logprobs import echoes_truly, top_of
from solon.engines.served.remedies import engine_error
from solon.engines.served.served_engine import ServedEngine
from solon.engines.served.token_counts import TokenCounter, find_count_request
from solon.engines.served.wire_format import (
    Interface,
    LetterReading,
    PromptForm,
    ServerAbilities,
    choices_in,
    generation_body,
    model_in,
    top_fields,
)
from solon.engines.templates import THINKING_SWITCHES
from solon.engines.tokens import PromptTokenizer
from solon.errors import ModelError
from solon.http.json_client import ClientSetup, JsonClient, JsonRequest
from solon.http.retry_policy import FailureKind, RequestFailure, RetryPolicy
from solon.http.secret import read_key

_ONE_TOKEN = SamplingParams(max_tokens=1)
_TOPS = (20, 5)
"""Numbers of tokens that servers list at most."""
_WHOLE = (
    {"top_k": -1, "min_p": 0.0, "repeat_penalty": 1.0, "repetition_penalty": 1.0},
    {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, "repetition_penalty": 1.0},
)
"""Fields that turn off what servers do to the distribution by default; they disagree on how to turn off `top_k`."""
_WORDS = "one two three four five six seven eight"
"""Words that begin a reply, to see whether a server reads them: some tokens, at most one a letter."""
_FIRST_TRIES = 3
_NO_LIST = frozenset({404, 405, 501})
"""What a server answers that has no list of models."""
_LISTING = 60.0
"""Seconds in which a server says which models it has: one that takes a connection and is silent ends no session."""


@dataclass(frozen=True, slots=True)
class ListedModel:
    """What the servers say about a model."""

    window: int | None
    absent: tuple[str, ...] = ()
    """Addresses that do not answer."""


def open_served(served: ServedModel, settings: EngineSettings) -> ServedEngine:
    """The engine of a model behind servers.

    Raises EngineError when no server answers, ModelError when the servers do not have the model, or its window is not
    known, and InputError for a key that is not valid.
    """
    server = settings.server
    policy = RetryPolicy.of(server.retries, server.timeout, server.deadline)
    setup = ClientSetup(policy, read_key(server.key_variable), server.concurrency, server)
    client = JsonClient(served.addresses, setup)
    try:
        return _opened(client, served, settings)
    except RequestFailure as failure:
        client.close()
        raise engine_error(failure, served.addresses, server) from None
    except BaseException:
        client.close()
        raise


def _opened(client: JsonClient, served: ServedModel, settings: EngineSettings) -> ServedEngine:
    listed = _listed(client, served)
    tokens = None if settings.server.tokenizer is None else _tokenizer(settings.server.tokenizer, settings)
    window = _window(listed.window, settings, str(served.model))
    rendering: Rendering = MessageRendering()
    if tokens is not None:
        rendering = tokens.rendering
    elif settings.rendering is RenderingKind.TRANSCRIPT:
        rendering = TranscriptRendering()
    probe = _Probe(client, served.model, tokens, settings)
    able = probe.abilities(rendering)
    if settings.server.samples > 1:
        probe.refuse_lone_texts(able, rendering)
    if isinstance(rendering, MessageRendering):
        rendering = MessageRendering(able.start)
    exact = None if tokens is None else lambda text: len(tokens.encode([text])[0])
    request = None if tokens is not None else find_count_request(client, served.model)
    density = None if tokens is not None else probe.density(able, rendering)
    counter = TokenCounter(client, served.model, window, request, exact, density)
    names = probe.names(able, rendering, [each for each in served.addresses if each not in listed.absent])
    remarks = [f"{address} does not answer; the other servers are asked" for address in listed.absent]
    engine = ServedEngine(
        client,
        served,
        able,
        rendering=rendering,
        counter=counter,
        tokens=tokens,
        settings=settings.server,
        remarks=[*remarks, *filter(None, [names.difference])],
    )
    engine.names = names
    return engine


def _listed(client: JsonClient, served: ServedModel) -> ListedModel:
    """The model in the lists of the servers that answer; raises the failure of the last if none does."""
    windows: list[int | None] = []
    absent, last = [], None
    for address in served.addresses:
        request = JsonRequest("/models", None, _models, address=address, tries=_FIRST_TRIES, timeout=_LISTING)
        try:
            models = client.ask_one(request)
        except RequestFailure as failure:
            if failure.status in _NO_LIST:
                windows.append(None)
                continue
            last = failure
            absent.append(address)
            if failure.kind is FailureKind.DENIED:
                raise
            continue
        if models and served.model not in models:
            names = ", ".join(sorted(models)[:8])
            raise ModelError(
                "the server does not have this model",
                place=f"{OPENAI}:{served.model}@{address}",
                remedy=f"It has: {names:.300}",
            )
        windows.append(_window_in(models.get(served.model, {})) or _props_window(client, address))
    if last is not None and not windows:
        raise last
    known = [each for each in windows if each is not None]
    return ListedModel(min(known) if known else None, tuple(absent))


def _models(answer: Any) -> dict[str, Mapping[str, Any]]:
    data = answer.get("data") if isinstance(answer, dict) else None
    return (
        {str(each.get("id")): each for each in data or () if isinstance(each, dict)} if isinstance(data, list) else {}
    )


def _window_in(entry: Mapping[str, Any]) -> int | None:
    """The window in a list of models, where vLLM and llama.cpp write it."""
    meta = entry.get("meta")
    found = [entry.get("max_model_len"), meta.get("n_ctx") if isinstance(meta, dict) else None]
    return next((each for each in found if type(each) is int and each > 0), None)


def _props_window(client: JsonClient, address: str) -> int | None:
    """The window of one slot of a llama.cpp server."""

    def read(answer: Any) -> int | None:
        settings = answer.get("default_generation_settings") if isinstance(answer, dict) else None
        found = settings.get("n_ctx") if isinstance(settings, dict) else None
        return found if type(found) is int and found > 0 else None

    try:
        return client.ask_one(JsonRequest("//props", None, read, address=address, tries=1, timeout=_LISTING))
    except RequestFailure:
        return None


def _window(known: int | None, settings: EngineSettings, name: str) -> int:
    wanted = settings.window
    if wanted is None and known is None:
        raise ModelError(
            "the server does not say how many tokens the model reads",
            place=f"{OPENAI}:{name}",
            remedy="Name them, prompt and completion together, for example: --set engine.window=8192",
        )
    if wanted is not None and known is not None and wanted > known:
        raise ModelError(
            f"engine.window is {wanted}, but the server reads {known} tokens",
            place=f"{OPENAI}:{name}",
            remedy=f"Use --set engine.window={known} or less",
        )
    return wanted or known or 0


def _tokenizer(folder: str, settings: EngineSettings) -> PromptTokenizer:
    from solon.model_folders.load import load_tokenizer

    path = Path(folder)
    if not path.is_dir():
        raise ModelError(
            "no such folder", place="engine.server.tokenizer", remedy="Name a folder with the model's tokenizer files"
        )
    return PromptTokenizer.of(load_tokenizer(path), settings)


@dataclass(frozen=True, slots=True)
class _Probe:
    """Requests of one token that show what a server takes."""

    client: JsonClient
    model: str
    tokens: PromptTokenizer | None
    settings: EngineSettings

    def abilities(self, rendering: Rendering) -> ServerAbilities:
        """What the server can do with prompts of a rendering; raises RequestFailure when it does not generate."""
        chat = isinstance(rendering, MessageRendering)
        able = ServerAbilities(Interface.CHAT if chat else Interface.COMPLETIONS)
        if self.tokens is not None:
            able = self._form(able, rendering)
        able = self._limit(able, rendering)
        for extras in _WHOLE:
            if self._takes(replace(able, extras=extras), rendering):
                able = replace(able, extras=extras)
                break
        if chat:
            able = self._chat(able)
        return replace(able, **self._readings(able, rendering))

    def _form(self, able: ServerAbilities, rendering: Rendering) -> ServerAbilities:
        """The form in which the server reads just the tokens that are meant."""
        assert self.tokens is not None
        wanted = len(self.tokens.encode(["".join(rendering.render(prompts.engine_probe()))])[0])
        reported = []
        for form in (PromptForm.TOKENS, PromptForm.TEXT, PromptForm.WITHOUT_OPENING):
            count = self._prompt_tokens(replace(able, form=form), rendering, prompts.engine_probe())
            if count == wanted:
                return replace(able, form=form)
            reported.append(count)
        if any(reported):
            read = max(filter(None, reported))
            raise ModelError(
                f"the tokenizer makes {wanted} tokens of a short prompt, and the server reads {read}",
                place="engine.server.tokenizer",
                remedy="Name the folder with the tokenizer of the model that the server has",
            )
        return able

    def _limit(self, able: ServerAbilities, rendering: Rendering) -> ServerAbilities:
        """The name of the field with the most tokens; newer chat models of OpenAI call it otherwise."""
        try:
            self._asked(able, rendering, prompts.engine_probe())
            return able
        except RequestFailure as failure:
            other = replace(able, limit="max_completion_tokens")
            if failure.kind is not FailureKind.REFUSED or not self._takes(other, rendering):
                raise
            return other

    def _chat(self, able: ServerAbilities) -> ServerAbilities:
        switches = dict.fromkeys(THINKING_SWITCHES, self.settings.thinking is Thinking.ON)
        switched = replace(able, extras={**able.extras, "chat_template_kwargs": switches})
        if self._takes(switched, MessageRendering()):
            able = switched
        probe = prompts.engine_probe()
        begun = replace(able, start=ReplyStart.CONTINUED)
        continued = MessageRendering(ReplyStart.CONTINUED)
        bare = self._prompt_tokens(able, MessageRendering(), probe)
        more = self._prompt_tokens(begun, continued, replace(probe, opening="("))
        # The bracket is a token. A server that closes the message, and opens another, adds several.
        if not bare or not more or more > bare + 1:
            return able
        # A server that leaves the message out, or always reports the same number, adds none for further words.
        whole = self._prompt_tokens(begun, continued, replace(probe, opening=f"({_WORDS}"))
        words, letters = len(_WORDS.split()), len(_WORDS)
        return begun if whole and words // 2 <= whole - more <= letters else able

    def _readings(self, able: ServerAbilities, rendering: Rendering) -> dict[str, Any]:
        found, most = set(), able.top
        top: list[tuple[str, float]] = []
        for number in _TOPS:
            choice = self._choice(able, rendering, top_fields(able.interface, number))
            if choice is not None and (top := _top_or_nothing(choice)):
                found.add(LetterReading.TOP)
                most = number
                break
        if able.interface is Interface.COMPLETIONS:
            choice = self._choice(able, rendering, {"echo": True, "logprobs": 1, "temperature": 0})
            if choice is not None and _is_echo(choice, top):
                found.add(LetterReading.ECHO)
        return {"readings": frozenset(found), "top": most}

    def _choice(self, able: ServerAbilities, rendering: Rendering, more: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The completion of a request with more fields; None when the server refuses them."""
        try:
            return choices_in(self._asked(able, rendering, prompts.engine_probe(), more))[0].raw
        except RequestFailure:
            return None

    def _takes(self, able: ServerAbilities, rendering: Rendering) -> bool:
        try:
            choices_in(self._asked(able, rendering, prompts.engine_probe()))
        except RequestFailure:
            return False
        return True

    def names(self, able: ServerAbilities, rendering: Rendering, addresses: Sequence[str]) -> ModelNames:
        """What each of several addresses calls the model; one alone is not asked."""
        found = ModelNames()
        body = self._body(able, rendering, prompts.engine_probe())
        for address in addresses if len(addresses) > 1 else ():
            request = JsonRequest(able.interface.path, body, _object, address=address, tries=_FIRST_TRIES)
            with suppress(RequestFailure):
                if name := model_in(self.client.ask_one(request)):
                    found.known[address] = name
        return found

    def density(self, able: ServerAbilities, rendering: Rendering) -> float | None:
        """Characters of a token in plain prose; None when the server does not report tokens, or reads no such text."""
        count = self._prompt_tokens(able, rendering, prompts.prose_probe())
        return len("".join(rendering.render(prompts.prose_probe()))) / count if count else None

    def _prompt_tokens(self, able: ServerAbilities, rendering: Rendering, prompt: Prompt) -> int | None:
        """The number of prompt tokens that the server reports; None when it refuses the request or reports none."""
        try:
            usage = self._asked(able, rendering, prompt).get("usage")
        except RequestFailure:
            return None
        count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        return count if type(count) is int else None

    def _asked(
        self, able: ServerAbilities, rendering: Rendering, prompt: Prompt, more: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        body = self._body(able, rendering, prompt) | dict(more or {})
        return self.client.ask_one(JsonRequest(able.interface.path, body, _object, tries=_FIRST_TRIES))

    def refuse_lone_texts(self, able: ServerAbilities, rendering: Rendering) -> None:
        """Raise ModelError for a server that gives one text where several samples of a prompt are asked for."""
        body = self._body(able, rendering, prompts.engine_probe()) | {"n": 2}
        request = JsonRequest(able.interface.path, body, lambda answer: choices_in(answer, 2), tries=_FIRST_TRIES)
        try:
            self.client.ask_one(request)
        except RequestFailure as failure:
            if failure.kind not in (FailureKind.MALFORMED, FailureKind.REFUSED):
                raise
            raise ModelError(
                f"the server does not give several samples of a prompt in one request: it {failure.why}",
                place="engine.server.samples",
                remedy="Ask for each by itself: --set engine.server.samples=1",
            ) from None

    def _body(self, able: ServerAbilities, rendering: Rendering, prompt: Prompt) -> dict[str, Any]:
        counter = TokenCounter(self.client, self.model, 1)
        served = ServedModel(self.model, self.client.addresses)
        engine = ServedEngine(self.client, served, able, rendering=rendering, counter=counter, tokens=self.tokens)
        return generation_body(self.model, engine.fields(prompt), _ONE_TOKEN, able, seed=0)


def _top_or_nothing(choice: Mapping[str, Any]) -> list[tuple[str, float]]:
    try:
        return top_of(choice)
    except RequestFailure:
        return []


def _is_echo(choice: Mapping[str, Any], top: Sequence[tuple[str, float]]) -> bool:
    try:
        return echoes_truly(choice, top)
    except RequestFailure:
        return False


def _object(answer: Any) -> dict[str, Any]:
    choices_in(answer)
    return dict(answer)
