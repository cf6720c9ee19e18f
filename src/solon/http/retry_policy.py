"""When a request is tried again, and how long is waited before: the only layer of retries.

A failure has a kind. The kind says whether to try again, and whether the failure is about this request alone, so that
the others go on without it. Pauses grow; a server may ask for a longer one (`Retry-After`), up to `LONGEST_PAUSE`.
"""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

LONGEST_PAUSE = 60.0
"""The longest pause in seconds, even if a server asks for more."""
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further try; the last one repeats."""
_AGAIN_BELOW_500 = frozenset({408, 409, 429})
_NEVER_FROM_500 = frozenset({501, 505})
_ONE_REQUEST = frozenset({400, 413, 422})


class FailureKind(StrEnum):
    """What went wrong with a request."""

    AWAY = "away"
    """The server cannot be reached, is busy, or lost the connection: every request would fail now."""
    SLOW = "slow"
    """There was no whole answer in time."""
    BROKEN = "broken"
    """The server failed (500)."""
    MALFORMED = "malformed"
    """The answer is cut off or not of the agreed form."""
    REFUSED = "refused"
    """The server refuses this request (400, 413, 422)."""
    DENIED = "denied"
    """The server refuses every such request: a wrong key, a wrong address, a redirect."""


_TRIED_AGAIN = frozenset({FailureKind.AWAY, FailureKind.SLOW, FailureKind.BROKEN, FailureKind.MALFORMED})


class RequestFailure(Exception):
    """A request without an answer: the reason in words without secrets, and the pause that the server asks for."""

    def __init__(self, kind: FailureKind, why: str, *, status: int | None = None, pause: float = 0.0) -> None:
        self.kind = kind
        self.why = why
        self.status = status
        self.pause = pause
        super().__init__(why)

    @property
    def again(self) -> bool:
        """Whether trying again may help."""
        return self.kind in _TRIED_AGAIN

    @property
    def busy(self) -> bool:
        """Whether fewer requests at once may help."""
        return self.kind in (FailureKind.AWAY, FailureKind.SLOW)


def malformed(why: str) -> RequestFailure:
    """The failure of an answer that has not the agreed form."""
    return RequestFailure(FailureKind.MALFORMED, why)


def kind_of_status(status: int) -> FailureKind:
    """The kind of a failure from its status code."""
    if status in _ONE_REQUEST:
        return FailureKind.REFUSED
    if status == 500:
        return FailureKind.BROKEN
    if status in _AGAIN_BELOW_500 or (status > 500 and status not in _NEVER_FROM_500):
        return FailureKind.AWAY
    return FailureKind.DENIED


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long a request is tried."""

    pauses: Sequence[float] = PAUSES
    """Seconds before each further try: there is one try more than pauses."""
    timeout: float = 600.0
    """Seconds for one try, from connecting to the last byte of the answer."""
    deadline: float = math.inf
    """Seconds for all tries of a request."""

    @classmethod
    def of(cls, retries: int, timeout: float, deadline: float) -> RetryPolicy:
        """The policy with so many retries, after the usual pauses."""
        return cls([PAUSES[min(number, len(PAUSES) - 1)] for number in range(retries)], timeout, deadline)


def retry_after(given: str | None) -> float:
    """The seconds of a `Retry-After`, a number or a date, at most LONGEST_PAUSE; 0 for none or an invalid one."""
    text = (given or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), LONGEST_PAUSE)
    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(max(moment - time.time(), 0.0), LONGEST_PAUSE)
