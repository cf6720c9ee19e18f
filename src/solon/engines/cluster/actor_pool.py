"""A pool of Ray actors: whichever is free answers the next call, and a call whose actor dies goes to another one.

These are plain actors and not Ray Data. A Ray dataset is made of files or objects that every node can read. The items
of a stage are made here, chunk by chunk, from the journal of the phase before, and each result has to be durable here
before it is used. A stage asks several times per item, and a run asks nothing that its cache of answers knows. So only
questions to models travel: a call is one batch of prompts, its answer one batch of texts. Journal, cache and budgets
stay in the run's folder, in one process, and no other node sees or needs that folder.

Calls are pure functions of their prompts and seeds (`solon.engines.base`), so a repeated call gives the same answer.
Ray starts a dead actor again, where a node has room; until it answers, the others do the work. A call that kills
`DEATHS` actors is given up: it would kill them all.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeVar

from solon.config.recipe import EngineSettings
from solon.engines.cluster.actor_calls import EngineCall, EngineOrder
from solon.engines.cluster.engine_host import EngineHost, HostFacts
from solon.errors import RunError, SolonError
from solon.runs.chunk_threads import Exclusive

A = TypeVar("A")
DEATHS = 3
"""Actors that one call may lose."""
PATIENCE = 600.0
"""Seconds to wait for an actor while none is there."""
TOLD_AFTER = 20.0
"""Seconds after which a user is told what is waited for."""
_POLL = 0.2
_OTHER_CODE = ("ImportError", "ModuleNotFoundError", "AttributeError", "UnpicklingError", "TypeError")
"""What stands in the error of an actor whose node has other packages than this machine."""
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ActorPool:
    """Actors of one session; made by `solon.engines.cluster.ray_place`."""

    ray: Any
    """The module, connected to a cluster."""
    settings: EngineSettings
    welcome: Callable[[HostFacts], None]
    """Raises when an actor cannot take part."""
    exclusive: Exclusive
    open_here: Callable[[], Collection[str]] = tuple
    """The keys of the orders that are in use."""
    patience: float = PATIENCE
    _idle: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _starting: dict[Any, Any] = field(default_factory=dict)
    """Actors that have not answered yet, by the reference to their first answer."""
    _actors: list[Any] = field(default_factory=list)
    _first: HostFacts | None = None
    """The facts of the first actor."""
    _there: int = 0
    """Actors that have answered and have not died since, whether they are free or not."""
    _lost: list[Exception] = field(default_factory=list)
    """Why actors did not start."""
    _closed: bool = False

    def start(self, actors: int, cpus: float, gpus: float) -> HostFacts:
        """Start the actors, and return the facts of the first that is there; the others join when they are.

        Raises RunError when none starts, and what `welcome` raises.
        """
        made = self.ray.remote(EngineHost).options(num_cpus=cpus, num_gpus=gpus, max_restarts=-1, max_task_retries=0)
        for _ in range(actors):
            actor = made.remote()
            self._actors.append(actor)
            self._greet(actor)
        self._idle.put(self._take())
        assert self._first is not None
        return self._first

    def ask(self, order: EngineOrder, call: EngineCall[A]) -> A:
        """The answer of whichever actor is free; raises what the engine raises, and RunError when actors die of it."""
        died, open_here = "", tuple(self.open_here())
        with self.exclusive.released():
            for _ in range(DEATHS):
                actor = self._take()
                try:
                    answer: A = self.ray.get(actor.answer.remote(open_here, order, call))
                except (self.ray.exceptions.RayActorError, self.ray.exceptions.ObjectLostError) as error:
                    died = str(error)
                    if self._closed:
                        raise self._none_left() from None
                    _log.warning("An actor of Ray died; another one is asked")
                    self._greet(actor, known=True)
                    continue
                except self.ray.exceptions.RayTaskError as error:
                    self._idle.put(actor)
                    if isinstance(cause := error.cause, SolonError):
                        raise cause from None
                    raise
                except BaseException:
                    self._idle.put(actor)
                    raise
                self._idle.put(actor)
                return answer
        raise _gave_up(died, str(order.spec))

    def close(self) -> None:
        """End the actors; calls in progress fail, and who waits for an actor gets RunError."""
        with self._lock:  # nobody asks Ray for anything after this: it would start another cluster
            self._closed = True
        for actor in self._actors:
            self.ray.kill(actor)

    def _greet(self, actor: Any, *, known: bool = False) -> None:
        """Wait for the first answer of an actor that was started, or is started again (`known`)."""
        with self._lock:
            self._starting[actor.describe.remote(self.settings)] = actor
            self._there -= known

    def _take(self) -> Any:
        """The next free actor; raises RunError when there is none and none comes."""
        since, told = time.monotonic(), False
        while True:
            self._welcome_started()
            try:
                return self._idle.get(timeout=_POLL)
            except queue.Empty:
                pass
            with self._lock:
                if not self._there and not self._starting:
                    raise self._none_left()
                if self._there:
                    since = time.monotonic()
            if (waited := time.monotonic() - since) > self.patience:
                raise _no_room(waited)
            if waited > TOLD_AFTER and not told:
                told = True
                _log.warning("Waiting for Ray to start an actor: 'ray status' shows what is free")

    def _welcome_started(self) -> None:
        """Let in the actors that have answered for the first time; raises RunError when the pool is closed."""
        with self._lock:
            if self._closed:
                raise self._none_left()
            waiting = list(self._starting)
            if not waiting:
                return
            for ref in self.ray.wait(waiting, num_returns=len(waiting), timeout=0)[0]:
                actor = self._starting.pop(ref)
                try:
                    facts: HostFacts = self.ray.get(ref)
                except self.ray.exceptions.ActorUnavailableError:
                    self._starting[actor.describe.remote(self.settings)] = actor
                    continue
                except self.ray.exceptions.RayError as error:
                    self._lost.append(error)
                    continue
                self.welcome(facts)
                self._first = self._first or facts
                self._there += 1
                self._idle.put(actor)

    def _none_left(self) -> RunError:
        if self._closed or not self._lost:
            cause, remedy = "they were stopped", "Run the same command again"
        elif any(words in str(self._lost[-1]) for words in _OTHER_CODE):
            cause = _last_line(self._lost[-1])
            remedy = "Install the same version of solon on every node, then run the same command again"
        else:
            cause = _last_line(self._lost[-1])
            remedy = "Look at 'ray status' and at Ray's log files, then run the same command again"
        return RunError(f"no actor of Ray is left: {cause.rstrip('.')}", place="--on ray", remedy=remedy)


def _no_room(waited: float) -> RunError:
    return RunError(
        f"Ray has not started an actor in {waited:.0f} seconds",
        place="--on ray",
        remedy="Look at 'ray status' for what is free, and ask for less with --actor-cpus and --actor-gpus",
    )


def _gave_up(died: str, model: str) -> RunError:
    return RunError(
        f"{DEATHS} actors died of one call: {' '.join(died.split())[:300]}",
        place=model,
        remedy="Check the memory of the nodes, or ask for fewer prompts at once (--set engine.batch_size=16), then run "
        "the same command again: finished chunks are kept",
    )


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
