"""An engine that asks another one and records the length of every question and answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from solon.config.settings import SamplingParams
from solon.conversation import Prompt, Role
from solon.engines.base import Completion, Continuation, Engine, count_many


@dataclass(frozen=True, slots=True)
class RecordedQuestion:
    """One question as the model read it; all lengths are in tokens."""

    role: Role
    """The role in which the model answers; `answer` for a judge's letter."""
    shared: str
    """The text of the worked examples in front."""
    own: str
    prompt_tokens: int
    shared_tokens: int
    completion_tokens: int


class RecordingEngine:
    """Records questions to `engine` in `asked`, in order; a question to `engine` itself is not recorded.

    Several recorders may share one list.
    """

    def __init__(self, engine: Engine, asked: list[RecordedQuestion] | None = None) -> None:
        self.engine = engine
        self.name = engine.name
        self.window = engine.window
        self.dtype = engine.dtype
        self.rendering = engine.rendering
        self.choosing = engine.choosing
        self.remarks = engine.remarks
        self.asked: list[RecordedQuestion] = [] if asked is None else asked

    def generate(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingParams, stop: Sequence[str] = ()
    ) -> list[Completion]:
        completions = self.engine.generate(prompts, seeds, sampling, stop)
        for prompt, completion in zip(prompts, completions, strict=True):
            # Without token ids the words are counted.
            self._record(prompt, len(completion.token_ids) or completion.tokens_written or len(completion.text.split()))
        return completions

    def choose(self, prompts: Sequence[Prompt], options: Sequence[str]) -> list[tuple[float, ...]]:
        for prompt in prompts:
            self._record(prompt, 0)
        return self.engine.choose(prompts, options)

    def count_tokens(self, prompt: Prompt) -> int:
        return self.engine.count_tokens(prompt)

    def count_many(self, prompts: Sequence[Prompt]) -> list[int]:
        """See `solon.engines.base.CountsTogether`."""
        return count_many(self.engine, prompts)

    def continuation(self, prompt: Prompt, options: Sequence[str]) -> Continuation:
        return self.engine.continuation(prompt, options)

    def _record(self, prompt: Prompt, completion_tokens: int) -> None:
        shared, own = self.rendering.render(prompt)
        tokens = self.count_tokens(prompt)
        unshared = self.count_tokens(Prompt(prompt.turns[prompt.shared :], prompt.reply_as, prompt.opening))
        self.asked.append(RecordedQuestion(prompt.reply_as, shared, own, tokens, tokens - unshared, completion_tokens))
