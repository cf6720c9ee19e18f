"""The requests of one or several clients together: how many are open, and whether more may be sent.

Work in other threads asks; one thread starts that work and looks here whether the servers have room for more. A request
is open from the moment it is asked for until it is answered or given up. To stop, requests that were not sent yet are
withdrawn, and those that were sent are answered, after an error within `LAST_ANSWERS`; or all of them are cancelled.
"""

from __future__ import annotations

import threading
import weakref
from typing import Protocol

LAST_ANSWERS = 60.0
"""Seconds in which requests that were sent before an error are still answered."""
AHEAD = 2
"""So many times the stated concurrency may be open: one part in flight, the rest at hand when a place is free."""


class Withdrawn(Exception):
    """Requests were not sent, because the work was stopped."""


class Asker(Protocol):
    """A client whose requests are counted; see `solon.http.json_client.JsonClient`."""

    @property
    def most(self) -> int:
        """Most requests in flight."""
        ...

    def withdraw(self) -> None:
        """Send nothing more."""
        ...

    def readmit(self) -> None:
        """Send again what is asked."""
        ...

    def cancel(self) -> None:
        """Give up everything that is asked now."""
        ...


class RequestFlow:
    """Counts open requests; safe to use from any thread."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        """Notified when a request is asked or answered."""
        self._clients: weakref.WeakSet[Asker] = weakref.WeakSet()
        self._open = 0
        self._askers: set[int] = set()
        self.first_failure = ""
        """Why the first request failed that got no answer; empty when each got one."""

    @property
    def most(self) -> int:
        """Most requests in flight at the servers of one client."""
        return max((each.most for each in self._clients), default=1)

    @property
    def has_room(self) -> bool:
        """Whether more requests may be asked."""
        return self._open < AHEAD * self.most

    def add(self, client: Asker) -> None:
        """Count the requests of a client."""
        self._clients.add(client)

    def begin(self, count: int) -> OpenRequests:
        """Count requests that this thread asks now."""
        with self.changed:
            self._open += count
            self._askers.add(threading.get_ident())
            self.changed.notify_all()
        return OpenRequests(self, count)

    def has_asked(self, thread: int) -> bool:
        """Whether a thread has asked anything since `forget`."""
        return thread in self._askers

    def forget(self, thread: int) -> None:
        """Forget that a thread has asked, because it ends."""
        with self.changed:
            self._askers.discard(thread)
            self.changed.notify_all()

    def note_failure(self, why: str) -> None:
        """Remember why a request got no answer, if it is the first."""
        with self.changed:
            self.first_failure = self.first_failure or why

    def withdraw(self) -> None:
        """Send nothing more; what was sent is still answered."""
        for each in list(self._clients):
            each.withdraw()

    def readmit(self) -> None:
        """Send again what is asked."""
        for each in list(self._clients):
            each.readmit()

    def cancel(self) -> None:
        """Give up everything that is asked now."""
        for each in list(self._clients):
            each.cancel()

    def less(self, count: int) -> None:
        """Count requests as closed."""
        with self.changed:
            self._open -= count
            self.changed.notify_all()


class OpenRequests:
    """Some requests of a flow that were asked together."""

    def __init__(self, flow: RequestFlow, count: int) -> None:
        self._flow = flow
        self._left = count

    def close_one(self) -> None:
        """Count one as answered."""
        self._close(1)

    def close(self) -> None:
        """Count all others as closed."""
        self._close(self._left)

    def _close(self, count: int) -> None:
        with self._flow.changed:
            count = min(count, self._left)
            self._left -= count
            self._flow.less(count)
