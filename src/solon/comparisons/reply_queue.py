"""Writes the replies of open turns in the background, one turn after the other, in the order in which they came.

The page asks for the replies of a turn whenever it shows one without them, so nothing is lost when the server stops in
between: the next visit asks again, and the same seeds give the same replies.
"""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import replace

from solon.comparisons.hidden_models import AskedTurn, HiddenModels
from solon.comparisons.turn_taking import Course
from solon.comparisons.vote_rows import ComparedTurn
from solon.comparisons.vote_store import VoteStore
from solon.engines.base import Finish
from solon.errors import SolonError

_log = logging.getLogger(__name__)


class ReplyQueue:
    """Has one thread, which ends with the process."""

    def __init__(self, models: HiddenModels, store: VoteStore) -> None:
        self.models, self.store = models, store
        self._waiting: queue.SimpleQueue[AskedTurn | None] = queue.SimpleQueue()
        self._known: set[tuple[str, int]] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="replies", daemon=True)
        self._thread.start()

    def want(self, course: Course) -> None:
        """Have the replies of a conversation's open turn written, unless that is under way."""
        asked = course.asked()
        key = (asked.turn.conversation, asked.turn.number)
        with self._lock:
            if key in self._known:
                return
            self._known.add(key)
        self._waiting.put(asked)

    def close(self, patience: float = 60.0) -> None:
        """End the thread after the turn that it is at; those that wait behind it are asked again at their next visit.

        The patience is in seconds. A process that ends while a model still writes is aborted by its own threads.
        """
        self._closing.set()
        self._waiting.put(None)
        self._thread.join(patience)

    def _work(self) -> None:
        while (asked := self._waiting.get()) is not None and not self._closing.is_set():
            turn = asked.turn
            try:
                self.store.fill(self._answered(asked))
            except Exception:  # the thread must live, and the next visit asks again
                _log.exception("the replies of turn %s of conversation %s", turn.number, turn.conversation)
            finally:
                with self._lock:
                    self._known.discard((turn.conversation, turn.number))

    def _answered(self, asked: AskedTurn) -> ComparedTurn:
        try:
            (turn,) = self.models.answered([asked])
        except SolonError as error:
            return _without_replies(asked.turn, str(error))
        except Exception as error:  # a fault of a model's code must not leave the page waiting for ever
            _log.exception("a model failed in conversation %s", asked.turn.conversation)
            return _without_replies(asked.turn, f"{type(error).__name__}: {error}")
        return turn


def _without_replies(turn: ComparedTurn, why: str) -> ComparedTurn:
    ended = str(Finish.ERROR)
    return replace(turn, reply_a="", reply_b="", finish_a=ended, finish_b=ended, failed_because=why)
