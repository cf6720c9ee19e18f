"""Ray's part in a pool of actors, played in this process, so that threads meet at the instants that a test chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from solon.engines.cluster.engine_host import EngineHost


class Failures:
    """The errors of `ray.exceptions` that a pool knows."""

    class RayError(Exception):
        """Any."""

    class RayActorError(RayError):
        """The actor died."""

    class ActorUnavailableError(RayActorError):
        """The actor cannot be reached now."""

    class ObjectLostError(RayError):
        """The answer was on a node that is gone."""

    class RayTaskError(RayError):
        """The call raised an error."""


@dataclass(frozen=True, eq=False)
class Method:
    """A method of an actor; the reference that `remote` gives is the call, which `RayInThreads.get` carries out."""

    call: Callable[..., Any]

    def remote(self, *given: Any) -> Callable[[], Any]:
        """The call, not made yet."""
        return lambda: self.call(*given)


class Actor:
    """An actor: a host of engines in this process."""

    def __init__(self) -> None:
        host = EngineHost()
        self.describe, self.answer = Method(host.describe), Method(host.answer)


class RayInThreads:
    """The part of the module `ray` that a pool asks; `killed` are the actors that it ended."""

    exceptions = Failures

    def __init__(self) -> None:
        self.killed: list[Actor] = []
        self.waited = 0

    def remote(self, _: type) -> RayInThreads:
        """The maker of actors."""
        return self

    def options(self, **_: object) -> Any:
        """The maker of actors with the resources that are asked for."""

        class Maker:
            remote = Actor

        return Maker

    def get(self, reference: Callable[[], Any]) -> Any:
        """What a call gives or raises."""
        return reference()

    def wait(self, references: Sequence[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        """All of them are ready."""
        self.waited += 1
        return list(references), []

    def kill(self, actor: Actor) -> None:
        """End an actor."""
        self.killed.append(actor)
