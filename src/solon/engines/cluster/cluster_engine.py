"""An engine whose model is in the actors of a cluster.

It counts tokens here, by the tokenizer that an actor has sent, and asks the pool for everything else.
"""

from __future__ import annotations

from collections.abc import Sequence

from solon.config.settings import SamplingParams
from solon.conversation import Prompt, Rendering
from solon.engines.base import Completion, Continuation
from solon.engines.cluster.actor_calls import (
    ChooseCall,
    ContinuationCall,
    CountCall,
    DescribeCall,
    EngineOrder,
    GenerateCall,
)
from solon.engines.cluster.actor_pool import ActorPool


class ClusterEngine:
    """See `solon.engines.base.Engine`; the model is opened when this is made."""

    def __init__(self, pool: ActorPool, order: EngineOrder) -> None:
        facts = pool.ask(order, DescribeCall())
        self.order = order
        self.name = facts.name
        self.window = facts.window
        self.dtype = facts.dtype
        self.rendering: Rendering = facts.rendering
        self.choosing = facts.choosing
        self.remarks = facts.remarks
        self._counter = facts.counter
        self._pool = pool

    def generate(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingParams, stop: Sequence[str] = ()
    ) -> list[Completion]:
        return self._pool.ask(self.order, GenerateCall(tuple(prompts), tuple(seeds), sampling, tuple(stop)))

    def choose(self, prompts: Sequence[Prompt], options: Sequence[str]) -> list[tuple[float, ...]]:
        return self._pool.ask(self.order, ChooseCall(tuple(prompts), tuple(options)))

    def count_tokens(self, prompt: Prompt) -> int:
        if self._counter is not None:
            return self._counter.count_tokens(prompt)
        return self._pool.ask(self.order, CountCall(prompt))

    def continuation(self, prompt: Prompt, options: Sequence[str]) -> Continuation:
        if self._counter is not None:
            return self._counter.continuation(prompt, options)
        return self._pool.ask(self.order, ContinuationCall(prompt, tuple(options)))
