"""A preference model behind HTTP: whoever answers `POST /score` as `solon serve-pm` does.

    {"messages": [[{"role": ..., "content": ...}, ...], ...]} -> {"scores": [...]}

Scores count as centred: 0 stands for an ordinary reply. A server that is busy or away is asked again with growing
pauses; an answer that is no list of finite numbers, one for each conversation, is an error, and none is ever made up.
"""

from __future__ import annotations

import http.client
import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from solon.conversation import Conversation
from solon.errors import EngineError, RecipeError

SCHEMES = ("http", "https")
AGAIN = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE})
"""Answers after which asking again may help."""
AT_ONCE = 256
"""Conversations in one request."""


def is_address(name: str) -> bool:
    """Whether a scorer is named by its address, and not by a folder."""
    return urlsplit(name).scheme in SCHEMES


@dataclass(frozen=True, slots=True)
class RemoteScorer:
    """The scorer at an address; `path` is added where the address names none."""

    address: str
    path: str = "/score"
    timeout: float = 300.0
    """Seconds to wait for one answer."""
    pauses: Sequence[float] = (1.0, 2.0, 4.0, 8.0, 16.0)
    """Seconds before each further try."""
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        """Raise RecipeError for what is no address."""
        if not is_address(self.address) or not urlsplit(self.address).netloc:
            remedy = "Give the address of a server, such as http://127.0.0.1:8000"
            raise RecipeError(f"'{self.address}' is no address", place="rl.scorer", remedy=remedy)

    def scores(self, conversations: Sequence[Conversation]) -> list[float]:
        """Centred scores in order; raises EngineError when they cannot be had."""
        found: list[float] = []
        for start in range(0, len(conversations), AT_ONCE):
            found += self._scores(conversations[start : start + AT_ONCE])
        return found

    def _scores(self, conversations: Sequence[Conversation]) -> list[float]:
        body = json.dumps({"messages": [each.messages() for each in conversations]}).encode()
        answer = self._answer(body)
        try:
            scores = [float(score) for score in json.loads(answer)["scores"]]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise self._failed('the answer is not {"scores": [...]}') from None
        if len(scores) != len(conversations) or not all(map(math.isfinite, scores)):
            raise self._failed(f"the answer holds no {len(conversations)} finite scores")
        return scores

    def _answer(self, body: bytes) -> bytes:
        address = self.address.rstrip("/") + ("" if urlsplit(self.address).path.strip("/") else self.path)
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        why = ""
        for pause in (0.0, *self.pauses):
            if pause:
                self.sleep(pause)
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                    return bytes(answer.read())
            except urllib.error.HTTPError as error:
                with error:
                    why = f"answered {error.code}: {' '.join(error.read(500).decode('utf-8', 'replace').split())}"
                if error.code not in AGAIN:
                    break
            except (OSError, http.client.HTTPException) as error:
                why = f"does not answer ({' '.join(str(error).split())[:200]})"
        raise self._failed(why)

    def _failed(self, why: str) -> EngineError:
        remedy = "Start it with: solon serve-pm FOLDER, then run the same command again"
        return EngineError(f"the scorer {why}" if why else "the scorer failed", place=self.address, remedy=remedy)
