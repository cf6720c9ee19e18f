"""An engine that takes answers from the run's response cache and asks a model only for the others.

It wraps any engine. A question's key is the digest of all that can change its answer: the model, the text as it is
rendered, the seed, the sampling parameters, the window, the numbers that the model computes in, the engine's settings
and the version of the code that asks (DESIGN section 4). Known answers come from the cache; the others are asked in one
call and are durable before anyone sees them. Stages do not notice. A failed call is not cached and is asked again next
time. The cache holds texts and log-probabilities of options; the tokens of a completion are not kept, and new
completions come without them too, so that both kinds look the same. A cached value of another shape is refused as
damage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from solon.config.recipe import EngineSettings, SamplingParams
from solon.conversation import Prompt, Rendering
from solon.digest import digest
from solon.engines.base import Completion, Continuation, Engine, Finish
from solon.engines.rounding import CODE, keyed
from solon.runs.response_cache import CachedAnswer, ResponseCache


class CachedEngine:
    """`inner`, a model of the identity `model`, asked for `stage` through the cache `answers`."""

    def __init__(
        self, inner: Engine, model: str, stage: str, answers: ResponseCache, settings: EngineSettings | None = None
    ) -> None:
        self.inner = inner
        self.name = inner.name
        self.window = inner.window
        self.dtype = inner.dtype
        self.rendering: Rendering = inner.rendering
        self.choosing = inner.choosing
        self.remarks = inner.remarks
        settings = settings or EngineSettings()
        self._asked_of = (model, inner.rendering.name, inner.window, inner.dtype, CODE, keyed(settings))
        self._stage = stage
        self._answers = answers

    def generate(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingParams, stop: Sequence[str] = ()
    ) -> list[Completion]:
        """See `Engine.generate`; completions have no tokens."""
        drawn = (sampling.max_tokens, sampling.temperature, sampling.top_p, tuple(stop))
        keys = [
            digest("generate", *self._asked_of, self._text(prompt), seed, *drawn)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        known = self._answers.find(keys, self._stage, _is_completion)
        owed = [index for index, key in enumerate(keys) if key not in known]
        fresh: dict[int, Completion] = {}
        if owed:
            written = self.inner.generate([prompts[i] for i in owed], [seeds[i] for i in owed], sampling, stop)
            fresh = {
                i: Completion(each.text, each.finish, thinking=each.thinking)
                for i, each in zip(owed, written, strict=True)
            }
            self._answers.keep(
                self._answer(keys[i], _kept(each), prompts[i], len(each.token_ids))
                for i, each in zip(owed, written, strict=True)
                if each.finish is not Finish.ERROR
            )
        return [fresh[i] if i in fresh else _completion(known[key]) for i, key in enumerate(keys)]

    def choose(self, prompts: Sequence[Prompt], options: Sequence[str]) -> list[tuple[float, ...]]:
        """See `Engine.choose`."""
        keys = [digest("choose", *self._asked_of, self._text(prompt), list(options)) for prompt in prompts]
        known = self._answers.find(keys, self._stage, lambda value: _is_choice(value, len(options)))
        owed = [index for index, key in enumerate(keys) if key not in known]
        fresh: dict[int, tuple[float, ...]] = {}
        if owed:
            chosen = self.inner.choose([prompts[i] for i in owed], options)
            # Plain floats, as the cache returns them.
            fresh = {i: tuple(map(float, each)) for i, each in zip(owed, chosen, strict=True)}
            self._answers.keep(self._answer(keys[i], list(fresh[i]), prompts[i], 0) for i in owed)
        return [fresh[i] if i in fresh else tuple(known[key]) for i, key in enumerate(keys)]

    def count_tokens(self, prompt: Prompt) -> int:
        """See `Engine.count_tokens`."""
        return self.inner.count_tokens(prompt)

    def continuation(self, prompt: Prompt, options: Sequence[str]) -> Continuation:
        """See `Engine.continuation`."""
        return self.inner.continuation(prompt, options)

    def _text(self, prompt: Prompt) -> str:
        return "".join(self.rendering.render(prompt))

    def _answer(self, key: str, value: Any, prompt: Prompt, completion_tokens: int) -> CachedAnswer:
        tokens = self.inner.count_tokens(prompt)
        return CachedAnswer(key, value, self._stage, prompt.reply_as.value, tokens, completion_tokens)


def _kept(completion: Completion) -> list[str]:
    thinking = [completion.thinking] if completion.thinking else []
    return [completion.text, completion.finish.value, *thinking]


def _completion(value: Sequence[str]) -> Completion:
    text, finish, *thinking = value
    return Completion(text, Finish(finish), thinking="".join(thinking))


def _is_completion(value: Any) -> bool:
    """Whether a cached value is text, finish and perhaps further texts; a failed call is never cached."""
    texts = isinstance(value, list) and len(value) >= 2 and all(isinstance(each, str) for each in value)
    return texts and value[1] in {finish.value for finish in Finish if finish is not Finish.ERROR}


def _is_choice(value: Any, count: int) -> bool:
    """Whether a cached value is a log-probability for each of `count` options; one of minus infinity is possible."""
    numbers = isinstance(value, list) and len(value) == count
    return numbers and all(type(each) is float and not math.isnan(each) and each < math.inf for each in value)
