"""When a request is tried again, and how long is waited before: the only layer of retries.

A failure has a kind. The kind says whether to try again, and whether the failure is about this request alone, so that
the others go on without it. Pauses grow; a server may ask for a longer one (`Retry-After`), up to `LONGEST_PAUSE`.
"""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from solon.http.secret import shown

LONGEST_PAUSE = 60.0
"""The longest pause in seconds, even if a server asks for more."""
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further try; the last one repeats."""
_AGAIN_BELOW_500 = frozenset({408, 409, 429})
_NEVER_FROM_500 = frozenset({501, 505})
_ONE_REQUEST = frozenset({400, 413, 422})
_STATUS_OF_CODE = {
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "exceed_context_size_error": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "insufficient_quota": 402,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "server_error": 500,
    "api_error": 500,
    "overloaded_error": 529,
}
"""The statuses with which OpenAI, Anthropic and llama.cpp send errors of these codes and types."""


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
        self.address = ""
        """The server that failed; empty where none was asked."""
        super().__init__(why)

    @property
    def again(self) -> bool:
        """Whether trying again may help."""
        return self.kind in _TRIED_AGAIN

    @property
    def redirects(self) -> bool:
        """Whether the server names another address, which its reason has."""
        return self.status is not None and 300 <= self.status < 400

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


def failure_in(error: object) -> RequestFailure | None:
    """The failure that an answer with status 200 names in its field `error`, as gateways give it; None for no error.

    An error with a status, or with one of the usual names for it, is what an answer with this status would be. Any
    other one is malformed.
    """
    if not error:
        return None
    named = error if isinstance(error, dict) else {"message": error}
    given = [named.get(name) for name in ("code", "status", "type")]
    status = next((found for each in given if (found := _status_of(each)) is not None), None)
    message = shown(str(named.get("message") or json.dumps(error)))
    if status is None:
        return malformed(f"answers with an error: {message}")
    return RequestFailure(kind_of_status(status), f"answers with the error {status}: {message}", status=status)


def _status_of(given: object) -> int | None:
    """The status that an error's code stands for; None where it stands for none."""
    text = str(given).strip().lower()
    if text.isascii() and text.isdecimal() and 400 <= int(text[:9]) < 600:
        return int(text)
    return _STATUS_OF_CODE.get(text)


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
