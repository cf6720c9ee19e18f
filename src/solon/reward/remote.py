"""A preference model behind HTTP: any server that answers `POST /score` as `solon serve-pm` does.

    {"messages": [[{"role": ..., "content": ...}, ...], ...]} -> {"scores": [...]}

Scores are centred: 0 is an ordinary reply. An answer is valid when it is complete, in time, and a list of finite
numbers, one for each conversation. `_Unanswered` says whether to try again, after growing pauses or the longer one that
the server asks for. Redirects are not followed: they would turn the request into another one. The token comes from the
environment and goes only to this server.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from solon.config.addresses import TOKEN_VARIABLE, address_fault, is_address
from solon.conversation import Conversation
from solon.errors import EngineError, RecipeError

__all__ = ["AGAIN", "AT_ONCE", "LONGEST_PAUSE", "MOST", "RemoteScorer", "is_address"]

AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
"""Status codes after which trying again may help, like broken answers and failed connections."""
AT_ONCE, CHARACTERS = 256, 1 << 20
"""Conversations in one request, and characters of all their turns; servers accept a few times more."""
MOST = 1 << 20
"""The most bytes of an answer; 256 scores need a hundredth of it."""
LONGEST_PAUSE = 60.0
"""The longest pause in seconds, even if a server asks for more (`Retry-After`)."""
_CONNECT = 10.0
"""Seconds to connect."""


class _Unanswered(Exception):
    """A try without scores: why, whether to try again, and the pause that the server asks for."""

    def __init__(self, why: str, *, again: bool, pause: float = 0.0) -> None:
        self.why = why
        self.again = again
        self.pause = pause
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class RemoteScorer:
    """The scorer at an address; `path` is added if the address has none."""

    address: str
    path: str = "/score"
    timeout: float = 300.0
    """Seconds for one try, from connecting to the last byte of the answer."""
    pauses: Sequence[float] = (1.0, 2.0, 4.0, 8.0, 16.0)
    """Seconds before each further try."""
    sleep: Callable[[float], None] = time.sleep
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Raise RecipeError for a text that is not an address, or that contains a password."""
        if fault := address_fault(self.address):
            cause = f"'{self.address}' is {fault}" if fault.startswith("not a valid") else fault
            remedy = "Give the address of a server, such as http://127.0.0.1:8000"
            raise RecipeError(cause, place="rl.scorer", remedy=remedy)

    def scores(self, conversations: Sequence[Conversation]) -> list[float]:
        """Centred scores in order; raises EngineError when the server does not give them."""
        return [score for part in _parts(conversations) for score in self._scores(part)]

    def _scores(self, conversations: Sequence[Conversation]) -> list[float]:
        body = json.dumps({"messages": [each.messages() for each in conversations]}).encode("ascii")
        why, retry_after = "", 0.0
        for pause in (0.0, *self.pauses):
            if pause := max(pause, retry_after):
                self.sleep(pause)
            try:
                return _scores_in(self._answer(body), len(conversations))
            except _Unanswered as failure:
                why, retry_after = failure.why, failure.pause
                if not failure.again:
                    break
        raise self._failed(why)

    def _answer(self, body: bytes) -> bytes:
        """The body of one good answer; raises _Unanswered."""
        headers = {"Content-Type": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        parts = urlsplit(self.address)
        path = parts.path.rstrip("/") or self.path
        made = http.client.HTTPSConnection if parts.scheme.lower() == "https" else http.client.HTTPConnection
        connection = made(parts.hostname or "", parts.port, timeout=min(_CONNECT, self.timeout))
        try:
            with _within(self.timeout, connection):
                connection.request("POST", path, body, headers)
                answer = connection.getresponse()
                found = answer.read(MOST + 1)
        except (OSError, http.client.HTTPException) as error:
            trusted = not isinstance(error, ssl.SSLCertVerificationError)
            raise _Unanswered(f"does not answer ({self._shown(str(error))})", again=trusted) from None
        finally:
            connection.close()
        if answer.status != HTTPStatus.OK:
            reason = "and redirects are not followed" if 300 <= answer.status < 400 else self._shown(found)
            again = answer.status in AGAIN
            raise _Unanswered(f"answered {answer.status}: {reason}", again=again, pause=_retry_after(answer))
        if len(found) > MOST:
            raise _Unanswered(f"answers with more than {MOST} bytes", again=True)
        if answer.length:
            raise _Unanswered(f"breaks its answer off after {len(found)} bytes", again=True)
        return found

    def _shown(self, answer: bytes | str) -> str:
        """The beginning of a server's answer, on one line, without control characters and our token."""
        text = answer[:2000].decode("utf-8", "replace") if isinstance(answer, bytes) else answer
        if self.token is not None:
            text = text.replace(self.token, "***")
        return "".join(each for each in " ".join(text.split()) if each.isprintable())[:200]

    def _failed(self, why: str) -> EngineError:
        remedy = "Start it with: solon serve-pm FOLDER, then run the same command again"
        if why.startswith("answered 401"):
            remedy = f"Set the environment variable {TOKEN_VARIABLE} to its token, then run the same command again"
        return EngineError(f"the scorer {why}", place=self.address, remedy=remedy)


def _parts(conversations: Sequence[Conversation]) -> Iterator[list[Conversation]]:
    """The conversations in order, split into requests."""
    part: list[Conversation] = []
    held = 0
    for each in conversations:
        size = sum(len(turn.content) for turn in each.turns)
        if part and (len(part) >= AT_ONCE or held + size > CHARACTERS):
            yield part
            part, held = [], 0
        part.append(each)
        held += size
    if part:
        yield part


@contextmanager
def _within(seconds: float, connection: http.client.HTTPConnection) -> Iterator[None]:
    """Close a connection after so many seconds in total; raises TimeoutError."""
    late = threading.Event()
    began = time.monotonic()
    connection.connect()
    left = max(0.0, seconds - (time.monotonic() - began))

    def cut() -> None:
        late.set()
        with suppress(OSError, AttributeError):  # closed by now
            connected.shutdown(socket.SHUT_RDWR)

    connected: Any = connection.sock
    connected.settimeout(seconds)
    timer = threading.Timer(left, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException):
        if not late.is_set():
            raise
    finally:
        timer.cancel()
    if late.is_set():
        raise TimeoutError(f"no whole answer within {seconds:g} s")


def _scores_in(answer: bytes, count: int) -> list[float]:
    """The scores of an answer; raises _Unanswered unless they are `count` finite numbers."""
    try:
        found = json.loads(answer, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        found = None
    scores = found.get("scores") if isinstance(found, dict) else None
    # `type`, because True is an int to isinstance, and a number in quotation marks is one to float().
    if not isinstance(scores, list) or not all(type(score) in (int, float) for score in scores):
        raise _Unanswered('answers, and the answer is not {"scores": [...]} with numbers', again=True)
    if len(scores) != count or not all(map(_is_finite, scores)):
        raise _Unanswered(f"answers, and the answer does not hold {count} finite scores", again=True)
    return [float(score) for score in scores]


def _is_finite(score: float) -> bool:
    try:
        return math.isfinite(score)
    except OverflowError:  # a whole number that no float can hold
        return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("duplicate key in an object")
    return found


def _retry_after(answer: http.client.HTTPResponse) -> float:
    """The seconds of a `Retry-After`, a number or a date, at most LONGEST_PAUSE; 0 for none or an invalid one."""
    given = (answer.headers.get("Retry-After") or "").strip()
    if given.isascii() and given.isdecimal():
        return min(float(given[:9]), LONGEST_PAUSE)
    try:
        moment = email.utils.parsedate_to_datetime(given).timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(max(moment - time.time(), 0.0), LONGEST_PAUSE)
