"""The servers that share the requests of a client, and how many requests each of them gets at once.

The number of requests in flight adapts, as the sending rate of TCP does: it halves when a server is busy or away, falls
by a quarter when an answer takes more than half of the time limit, and grows back to the stated concurrency with every
good answer. It falls at most once for the requests that were in flight together. A server that cannot be reached gets
no requests for a while, as long as another one can; then a single one tries it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from solon.http.retry_policy import LONGEST_PAUSE

_HALVED, _CUT = 0.5, 0.75
_SLOW_SHARE = 0.5
"""The share of the time limit after which an answer counts as slow."""


@dataclass(slots=True)
class AdaptiveLimit:
    """How many requests may be in flight; never more than `most`, never less than one."""

    most: int
    allowed: float = field(init=False)
    _threshold: float = field(init=False)
    _cut_at: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.allowed = self._threshold = float(self.most)

    def answered(self, began: float, now: float, timeout: float) -> None:
        """Grow after a good answer, or shrink when it was slow."""
        if now - began > _SLOW_SHARE * timeout:
            self.shrink(began, now, _CUT)
        else:
            step = 1.0 if self.allowed < self._threshold else 1.0 / self.allowed
            self.allowed = min(self.allowed + step, float(self.most))

    def shrink(self, began: float, now: float, factor: float = _HALVED) -> None:
        """Shrink after a failure of a request that was sent after the last shrinking."""
        if began >= self._cut_at:
            self.allowed = self._threshold = max(1.0, self.allowed * factor)
            self._cut_at = now

    def restart(self, now: float) -> None:
        """Begin with one request, after the server was away."""
        self.allowed, self._cut_at = 1.0, now


@dataclass(slots=True)
class ServerState:
    """One address and what is known of it."""

    address: str
    limit: AdaptiveLimit
    in_flight: int = 0
    waits: int = 0
    """Requests that wait as this server asked; it gets no others meanwhile."""
    away_until: float = 0.0
    _absences: int = 0

    def takes(self, now: float) -> bool:
        """Whether it may get one more request."""
        return self.waits == 0 and self.in_flight < int(self.limit.allowed) and now >= self.away_until

    def answered(self, began: float, now: float, timeout: float) -> None:
        """Note a good answer."""
        self._absences = 0
        self.away_until = 0.0
        self.limit.answered(began, now, timeout)

    def absent(self, now: float) -> None:
        """Note that it could not be reached: it is left alone for a while, longer each time."""
        if now >= self.away_until:
            self.away_until = now + min(2.0**self._absences, LONGEST_PAUSE)
            self._absences += 1
        self.limit.restart(now)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    """A request that waits for a place."""

    told: asyncio.Future[None]
    suitable: Callable[[float], Sequence[ServerState]]
    """The servers that it would take at a moment."""


class ServerPool:
    """Hands out servers; used from one event loop."""

    def __init__(self, addresses: Sequence[str], most: int) -> None:
        self.servers = tuple(ServerState(address, AdaptiveLimit(most)) for address in addresses)
        self._waiting: deque[_Waiter] = deque()

    @property
    def most(self) -> int:
        """Most requests in flight at all servers together."""
        return sum(server.limit.most for server in self.servers)

    def others_reachable(self, than: ServerState, now: float) -> bool:
        """Whether another server is there."""
        return any(server is not than and now >= server.away_until for server in self.servers)

    async def acquire(self, only: str | None = None, but: ServerState | None = None) -> ServerState:
        """The least busy server that takes a request, as soon as there is one; `only` names an address.

        `but` is the server that has just failed the request: it is asked again only where no other one is reachable.
        """
        loop = asyncio.get_running_loop()
        named = [server for server in self.servers if only in (None, server.address)]

        def suitable(now: float) -> list[ServerState]:
            reachable = [server for server in named if now >= server.away_until]
            return [server for server in reachable if server is not but] or reachable

        while True:
            now = loop.time()
            reachable = suitable(now)
            if not reachable:  # the one that comes back first is tried
                first = min(named, key=lambda server: server.away_until)
                first.away_until = 0.0
                reachable = [first]
            free = [server for server in reachable if server.takes(now)]
            if free:
                chosen = min(free, key=lambda server: server.in_flight / server.limit.allowed)
                chosen.in_flight += 1
                return chosen
            back = min((server.away_until - now for server in named if server.away_until > now), default=None)
            await self._change(suitable, back)

    def release(self, server: ServerState) -> None:
        """Give a place back."""
        server.in_flight -= 1
        self.wake()

    def wake(self) -> None:
        """Let requests that wait look again: one for each place, the first that would take it."""
        now = asyncio.get_running_loop().time()
        places = {
            server.address: int(server.limit.allowed) - server.in_flight for server in self.servers if server.takes(now)
        }
        passed = []
        while self._waiting and places:
            waiter = self._waiting.popleft()
            if waiter.told.done():
                continue
            place = next((server.address for server in waiter.suitable(now) if server.address in places), None)
            if place is None:
                passed.append(waiter)
                continue
            waiter.told.set_result(None)
            places[place] -= 1
            if not places[place]:
                del places[place]
        self._waiting.extendleft(reversed(passed))

    async def _change(self, suitable: Callable[[float], Sequence[ServerState]], timeout: float | None) -> None:
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiter(told, suitable))
        try:
            await asyncio.wait((told,), timeout=timeout)
        except asyncio.CancelledError:
            if told.done():  # the place that was meant for it is another one's
                self.wake()
            raise
        finally:
            told.cancel()
