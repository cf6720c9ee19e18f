"""An engine that takes answers from the run's response cache and asks a model only for the others.

It wraps any engine. A question's key is the digest of everything that can change its answer: the model, the rendered
text, the seed, the sampling parameters, the window, the model's dtype, the engine's settings and the version of this
code. Known answers come from the cache. The others are asked in one call and saved before the stage sees them; those of
an engine that asks servers are saved as they arrive, so that a killed process loses none. A failed call and an unknown
log-probability are not cached, so the next session asks again. The cache holds texts and log-probabilities of options.
It does not hold the tokens of completions, and new completions come without tokens too, so that both kinds look the
same. A cached value of the wrong shape raises an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from solon.config.recipe import EngineSettings, SamplingParams
from solon.conversation import Prompt, Rendering
from solon.digest import digest
from solon.engines.base import Completion, Continuation, Engine, Finish, Remote, count_many
from solon.engines.cluster.cluster_engine import ClusterEngine
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
        self._key_parts = (model, inner.rendering.name, inner.window, inner.dtype, CODE, keyed(settings))
        self._stage = stage
        self._answers = answers

    def generate(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingParams, stop: Sequence[str] = ()
    ) -> list[Completion]:
        """The completions have no tokens."""
        parameters = (sampling.max_tokens, sampling.temperature, sampling.top_p, tuple(stop))
        keys = [
            digest("generate", *self._key_parts, self._text(prompt), seed, *parameters)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        known = self._answers.find(keys, self._stage, _is_completion)
        missing = [index for index, key in enumerate(keys) if key not in known]
        fresh: dict[int, Completion] = {}
        asked = [prompts[i] for i in missing], [seeds[i] for i in missing], sampling, stop
        for arrived in self._generated(*asked) if missing else ():
            written = {missing[at]: completion for at, completion in arrived}
            self._answers.keep(
                self._answer(keys[i], _cached_value(each), prompts[i], tokens_in(each))
                for i, each in written.items()
                if each.finish is not Finish.ERROR
            )
            fresh |= {i: Completion(each.text, each.finish, thinking=each.thinking) for i, each in written.items()}
        return [fresh[i] if i in fresh else _completion(known[key]) for i, key in enumerate(keys)]

    def choose(self, prompts: Sequence[Prompt], options: Sequence[str]) -> list[tuple[float, ...]]:
        keys = [digest("choose", *self._key_parts, self._text(prompt), list(options)) for prompt in prompts]
        known = self._answers.find(keys, self._stage, lambda value: _is_choice(value, len(options)))
        missing = [index for index, key in enumerate(keys) if key not in known]
        fresh: dict[int, tuple[float, ...]] = {}
        for arrived in self._chosen([prompts[i] for i in missing], options) if missing else ():
            # Plain floats, as the cache returns them.
            chosen = {missing[at]: tuple(map(float, each)) for at, each in arrived}
            self._answers.keep(
                self._answer(keys[i], list(each), prompts[i], 0)
                for i, each in chosen.items()
                if _is_choice(list(each), len(options))
            )
            fresh |= chosen
        return [fresh[i] if i in fresh else tuple(known[key]) for i, key in enumerate(keys)]

    def count_tokens(self, prompt: Prompt) -> int:
        return self.inner.count_tokens(prompt)

    def count_many(self, prompts: Sequence[Prompt]) -> list[int]:
        """See `solon.engines.base.CountsTogether`."""
        return count_many(self.inner, prompts)

    def continuation(self, prompt: Prompt, options: Sequence[str]) -> Continuation:
        return self.inner.continuation(prompt, options)

    def _generated(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingParams, stop: Sequence[str]
    ) -> Iterable[Sequence[tuple[int, Completion]]]:
        """New completions with the numbers of their prompts, as they arrive."""
        if isinstance(self.inner, Remote):
            return self.inner.generated(prompts, seeds, sampling, stop)
        with self._turn():
            return [list(enumerate(self.inner.generate(prompts, seeds, sampling, stop)))]

    def _chosen(
        self, prompts: Sequence[Prompt], options: Sequence[str]
    ) -> Iterable[Sequence[tuple[int, tuple[float, ...]]]]:
        """New log-probabilities with the numbers of their prompts, as they arrive."""
        if isinstance(self.inner, Remote):
            return self.inner.chosen(prompts, options)
        with self._turn():
            return [list(enumerate(self.inner.choose(prompts, options)))]

    def _turn(self) -> AbstractContextManager[object]:
        """A model of this process is asked by one thread at a time; the actors of a cluster are asked by several.

        A thread that waited here for another one's actor would keep that one from ever going on: see `Exclusive`.
        """
        return nullcontext() if isinstance(self.inner, ClusterEngine) else self._answers.one_model

    def _text(self, prompt: Prompt) -> str:
        return "".join(self.rendering.render(prompt))

    def _answer(self, key: str, value: Any, prompt: Prompt, completion_tokens: int) -> CachedAnswer:
        tokens = self.inner.count_tokens(prompt)
        return CachedAnswer(key, value, self._stage, prompt.reply_as.value, tokens, completion_tokens)


def tokens_in(completion: Completion) -> int:
    """How many tokens a completion took; 0 where the engine does not know."""
    return len(completion.token_ids) or completion.tokens_written or 0


def _cached_value(completion: Completion) -> list[str]:
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
