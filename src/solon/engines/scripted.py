"""An engine that answers from functions: for tests, for judges with known faults, for counting questions.

It is deterministic when its functions are, and needs no torch. To simulate failures, a function may return a whole
`Completion` (any finish, any tokens) or raise; the error reaches the stage as it would from a real engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from solon.config.settings import SamplingParams
from solon.conversation import Prompt, Rendering, TranscriptRendering
from solon.engines.base import Choosing, Completion, Continuation, Finish, window_filled
from solon.engines.thinking import THINK, without_thoughts
from solon.errors import EngineError

Generate = Callable[[Prompt, int], str | Completion]
Choose = Callable[[Prompt, str], float]


@dataclass(frozen=True, slots=True)
class WordCounter:
    """Counts words as tokens; every option is one token."""

    rendering: Rendering
    choosing: Choosing
    name: str

    def count_tokens(self, prompt: Prompt) -> int:
        return len("".join(self.rendering.render(prompt)).split())

    def continuation(self, prompt: Prompt, options: Sequence[str]) -> Continuation:
        if self.choosing is Choosing.VOTES:
            raise EngineError("this scripted engine has no tokens", place=self.name, remedy="Count its votes")
        return Continuation(clean=True, options=tuple((number,) for number, _ in enumerate(options)))


class ScriptedEngine:
    """Answers by `generate(prompt, seed)` and `choose(prompt, option)`; a token is a word.

    A returned text is cut at stop strings and at the token limit, and stripped, like a model's.
    """

    def __init__(
        self,
        generate: Generate | None = None,
        choose: Choose | None = None,
        *,
        window: int = 1 << 20,
        name: str = "scripted",
        rendering: Rendering | None = None,
        choosing: Choosing = Choosing.LOGPROBS,
    ) -> None:
        """With `Choosing.VOTES` it acts as an engine without log-probabilities: `generate` answers everything."""
        self.name = name
        self.choosing = choosing
        self.remarks: Sequence[str] = ()
        self.window = window
        self.dtype = ""
        self.rendering: Rendering = rendering or TranscriptRendering()
        self._generate = generate
        self._choose = choose
        self.generate_calls = 0
        self.choose_calls = 0
        self.prompts: list[Prompt] = []
        """Every prompt asked, in order, of both kinds."""
        self.prompt_tokens = 0
        self.completion_tokens = 0

    def generate(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingParams, stop: Sequence[str] = ()
    ) -> list[Completion]:
        if self._generate is None:
            raise EngineError("this scripted engine has no texts", place=self.name, remedy="Give it `generate`")
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts need as many seeds, not {len(seeds)}")
        self.generate_calls += 1
        limits = [self._tokens_left(number, prompt, 1) for number, prompt in enumerate(prompts)]
        completions = []
        for prompt, seed, limit in zip(prompts, seeds, limits, strict=True):
            self.prompts.append(prompt)
            answer = self._generate(prompt, seed)
            if isinstance(answer, str):
                answer = _as_sampled(answer, min(sampling.max_tokens, limit), stop)
            self.completion_tokens += len(answer.text.split())
            completions.append(without_thoughts(answer, (THINK,)))
        return completions

    def choose(self, prompts: Sequence[Prompt], options: Sequence[str]) -> list[tuple[float, ...]]:
        if self._choose is None or self.choosing is Choosing.VOTES:
            raise EngineError("this scripted engine has no choices", place=self.name, remedy="Give it `choose`")
        self.choose_calls += 1
        for number, prompt in enumerate(prompts):
            self._tokens_left(number, prompt, 0)
            self.prompts.append(prompt)
        return [tuple(self._choose(prompt, option) for option in options) for prompt in prompts]

    def count_tokens(self, prompt: Prompt) -> int:
        """Words of the rendered prompt."""
        return self.counter().count_tokens(prompt)

    def continuation(self, prompt: Prompt, options: Sequence[str]) -> Continuation:
        return self.counter().continuation(prompt, options)

    def counter(self) -> WordCounter:
        """See `solon.engines.base.Countable`."""
        return WordCounter(self.rendering, self.choosing, self.name)

    def _tokens_left(self, number: int, prompt: Prompt, needed: int) -> int:
        size = self.count_tokens(prompt)
        if size + needed > self.window:
            raise window_filled(size, self.window, f"{self.name}, row {number}")
        self.prompt_tokens += size
        return self.window - size


def _as_sampled(text: str, max_tokens: int, stops: Sequence[str]) -> Completion:
    places = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    finish = Finish.STOP if places else Finish.END
    words = text[: min(places, default=len(text))].split(" ")
    if len(words) > max_tokens:
        words, finish = words[:max_tokens], Finish.LENGTH
    return Completion(" ".join(words).strip(), finish)
