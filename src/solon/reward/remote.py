"""A preference model behind HTTP: any server that answers `POST /score` as `solon serve-pm` does.

    {"messages": [[{"role": ..., "content": ...}, ...], ...]} -> {"scores": [...]}

Scores are centred: 0 is an ordinary reply. An answer is valid when it is complete, in time, and a list of finite
numbers, one for each conversation. `solon.http` asks, and says when to try again. The token comes from the environment
and goes only to this server.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from solon.config.addresses import TOKEN_VARIABLE, address_fault, is_address
from solon.conversation import Conversation
from solon.errors import EngineError, RecipeError
from solon.http.json_client import ClientSetup, JsonClient, JsonRequest, Sleep
from solon.http.retry_policy import LONGEST_PAUSE, PAUSES, RequestFailure, RetryPolicy, malformed
from solon.http.secret import Secret

__all__ = ["AT_ONCE", "LONGEST_PAUSE", "MOST", "RemoteScorer", "is_address"]

AT_ONCE, CHARACTERS = 256, 1 << 20
"""Conversations in one request, and characters of all their turns; servers accept a few times more."""
MOST = 1 << 20
"""The most bytes of an answer; 256 scores need a hundredth of it."""


@dataclass(frozen=True, slots=True)
class RemoteScorer:
    """The scorer at an address; `path` is added if the address has none."""

    address: str
    path: str = "/score"
    timeout: float = 300.0
    """Seconds for one try, from connecting to the last byte of the answer."""
    deadline: float = math.inf
    """Seconds for all tries of one request."""
    pauses: Sequence[float] = PAUSES
    """Seconds before each further try."""
    sleep: Sleep = asyncio.sleep
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Raise RecipeError for a text that is not an address, or that contains a password."""
        if fault := address_fault(self.address):
            cause = f"'{self.address}' is {fault}" if fault.startswith("not a valid") else fault
            remedy = "Give the address of a server, such as http://127.0.0.1:8000"
            raise RecipeError(cause, place="rl.scorer", remedy=remedy)

    def scores(self, conversations: Sequence[Conversation]) -> list[float]:
        """Centred scores in order; raises EngineError when the server does not give them."""
        if not conversations:
            return []
        setup = ClientSetup(
            RetryPolicy(self.pauses, self.timeout, self.deadline),
            None if self.token is None else Secret(self.token),
            most_bytes=MOST,
            idle=0,
            sleep=self.sleep,
            jitter=False,
        )
        client = JsonClient([self.address], setup)
        try:
            return [score for part in _parts(conversations) for score in client.ask_one(self._request(part))]
        except RequestFailure as failure:
            raise self._failed(failure) from None
        finally:
            client.close()

    def _request(self, conversations: Sequence[Conversation]) -> JsonRequest[list[float]]:
        path = "" if urlsplit(self.address).path.rstrip("/") else self.path
        body = {"messages": [each.messages() for each in conversations]}
        return JsonRequest(path, body, partial(_scores_in, count=len(conversations)))

    def _failed(self, failure: RequestFailure) -> EngineError:
        remedy = "Start it with: solon serve-pm FOLDER, then run the same command again"
        if failure.status == 401:
            remedy = f"Set the environment variable {TOKEN_VARIABLE} to its token, then run the same command again"
        return EngineError(f"the scorer {failure.why}", place=self.address, remedy=remedy)


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


def _scores_in(answer: Any, count: int) -> list[float]:
    """The scores of an answer; raises RequestFailure unless they are `count` finite numbers."""
    scores = answer.get("scores") if isinstance(answer, dict) else None
    # `type`, because True is an int to isinstance, and a number in quotation marks is one to float().
    if not isinstance(scores, list) or not all(type(score) in (int, float) for score in scores):
        raise malformed('answers, and the answer is not {"scores": [...]} with numbers')
    if len(scores) != count or not all(map(_is_finite, scores)):
        raise malformed(f"answers, and the answer does not hold {count} finite scores")
    return [float(score) for score in scores]


def _is_finite(score: float) -> bool:
    try:
        return math.isfinite(score)
    except OverflowError:  # a whole number that no float can hold
        return False
