"""What is sent to an actor: which model, and one question to its engine.

Everything here can be pickled. An order is complete, so that an actor which was just started, or started again after it
died, can carry it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from solon.config.model_spec import ModelSpec
from solon.config.recipe import EngineSettings
from solon.config.settings import SamplingParams
from solon.conversation import Prompt, Rendering
from solon.digest import digest
from solon.engines.base import Choosing, Completion, Continuation, Countable, Engine, TokenCounting
from solon.engines.registry import Opener

A = TypeVar("A", covariant=True)


@dataclass(frozen=True, slots=True)
class EngineOrder:
    """A model as it is to be opened: its spec, the settings, the identity that it must have, and who opens it."""

    spec: ModelSpec
    settings: EngineSettings
    identity: str
    opener: Opener

    @property
    def key(self) -> str:
        """Equal for equal orders."""
        return digest("engine order", str(self.spec), self.settings.model_dump(mode="json"), self.identity)


class EngineCall(Protocol[A]):
    """One question to an engine."""

    def __call__(self, engine: Engine) -> A:
        """The answer."""
        ...


@dataclass(frozen=True, slots=True)
class GenerateCall:
    """`Engine.generate`."""

    prompts: Sequence[Prompt]
    seeds: Sequence[int]
    sampling: SamplingParams
    stop: Sequence[str]

    def __call__(self, engine: Engine) -> list[Completion]:
        """The completions."""
        return engine.generate(self.prompts, self.seeds, self.sampling, self.stop)


@dataclass(frozen=True, slots=True)
class ChooseCall:
    """`Engine.choose`."""

    prompts: Sequence[Prompt]
    options: Sequence[str]

    def __call__(self, engine: Engine) -> list[tuple[float, ...]]:
        """The log-probabilities, as plain floats."""
        return [tuple(map(float, each)) for each in engine.choose(self.prompts, self.options)]


@dataclass(frozen=True, slots=True)
class CountCall:
    """`Engine.count_tokens`, for an engine that is not `Countable`."""

    prompt: Prompt

    def __call__(self, engine: Engine) -> int:
        """The number of tokens."""
        return engine.count_tokens(self.prompt)


@dataclass(frozen=True, slots=True)
class ContinuationCall:
    """`Engine.continuation`, for an engine that is not `Countable`."""

    prompt: Prompt
    options: Sequence[str]

    def __call__(self, engine: Engine) -> Continuation:
        """The tokens of the options."""
        return engine.continuation(self.prompt, self.options)


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an engine says of itself, and how it counts tokens."""

    name: str
    window: int
    dtype: str
    rendering: Rendering
    choosing: Choosing
    remarks: Sequence[str]
    counter: TokenCounting | None


@dataclass(frozen=True, slots=True)
class DescribeCall:
    """Asks for the facts, so that an engine is opened."""

    def __call__(self, engine: Engine) -> EngineFacts:
        """The facts of the engine."""
        return EngineFacts(
            engine.name,
            engine.window,
            engine.dtype,
            engine.rendering,
            engine.choosing,
            tuple(engine.remarks),
            engine.counter() if isinstance(engine, Countable) else None,
        )
