"""Micro-batching across requests: whoever asks at the same time shares a forward pass, and nobody waits for a big one.

One thread owns the model, its tokenizer and its rendering, none of which need be safe to share. It works in rounds of
bounded size: the first request that waits gives others a moment to join, and each round takes a share of the requests
at hand, of the oldest first and then of those with least left to do. So a small request is answered between two shares
of a big one. Shares are prepared apart, so that a bad request fails alone, and scored in one go. While a round is at
work more requests gather by themselves, so the moment may be short.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Piece = TypeVar("Piece")


@dataclass(frozen=True, slots=True)
class Limits:
    """How requests are gathered; weights are what `weigh` gives, characters for a server."""

    wait: float = 0.003
    """Seconds that the first request of a batch waits for others."""
    jobs: int = 256
    """Most requests in one batch."""
    waiting: int = 4096
    """Most requests that may wait; more are turned away."""
    share: int = 1 << 16
    """Weight that a round takes of one request: about one forward pass."""
    round: int = 1 << 18
    """Weight of a round."""


class Busy(Exception):
    """So many requests wait, or the batcher is closing, that no more is taken."""


@dataclass(slots=True)
class _Waiting(Generic[Item]):
    job: Sequence[Item]
    weights: Sequence[int]
    answer: Future[list[float]] = field(default_factory=Future)
    numbers: list[float] = field(default_factory=list)
    """Those of the items that are done, in order."""
    left: int = field(init=False)
    """The weight of the items of which no round has been made."""

    def __post_init__(self) -> None:
        """Everything is to be done."""
        self.left = sum(self.weights)

    def share(self, most: int) -> Sequence[Item]:
        """Take the next items, together no heavier than `most` unless the first one is."""
        start = end = len(self.numbers)
        taken = 0
        while end < len(self.job) and (end == start or taken + self.weights[end] <= most):
            taken += self.weights[end]
            end += 1
        self.left -= taken
        return self.job[start:end]


class Batcher(Generic[Item, Piece]):
    """Answers jobs, each a sequence of items, from any thread with the numbers of their items.

    `prepare` turns some items of a job into pieces, one each, and may raise; `score` gives a number for each piece,
    whatever job it is of; `weigh` says what an item costs. `around` is entered once by the thread that does the work.
    """

    def __init__(
        self,
        prepare: Callable[[Any], Sequence[Piece]],
        score: Callable[[Sequence[Piece]], Sequence[float]],
        limits: Limits | None = None,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
        weigh: Callable[[Item], int] = lambda item: 1,
    ) -> None:
        self.limits = limits or Limits()
        self.batches = 0
        self.answered = 0
        self._prepare = prepare
        self._score = score
        self._around = around
        self._weigh = weigh
        self._closed = threading.Event()
        self._taking = threading.Lock()
        self._queue: queue.Queue[_Waiting[Item] | None] = queue.Queue(self.limits.waiting)
        self._thread = threading.Thread(target=self._work, name="micro-batching", daemon=True)
        self._thread.start()

    def submit(self, job: Sequence[Item]) -> Future[list[float]]:
        """The numbers of a job, to come; raises Busy when too many wait or the batcher is closing."""
        waiting = _Waiting(job, [self._weigh(item) for item in job])
        with self._taking:  # so that nothing can be put behind the end that `close` puts
            if self._closed.is_set():
                raise Busy("closing")
            try:
                self._queue.put_nowait(waiting)
            except queue.Full:
                raise Busy(f"{self.limits.waiting} requests wait") from None
        return waiting.answer

    def close(self) -> None:
        """Answer all that was taken, then stop; nothing more is taken."""
        with self._taking:
            first = not self._closed.is_set()
            self._closed.set()
        if first:
            self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        at_hand: list[_Waiting[Item]] = []
        ended = False
        with self._around():
            while not ended or at_hand:
                ended = ended or self._gather(at_hand)
                if at_hand:
                    self._round(at_hand)
                at_hand = [waiting for waiting in at_hand if not waiting.answer.done()]

    def _gather(self, at_hand: list[_Waiting[Item]]) -> bool:
        """Add what waits to what is at hand; whether the end was met. Waits for something when nothing is at hand."""
        deadline = None if not at_hand else 0.0
        while len(at_hand) < self.limits.jobs:
            try:
                seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
                another = self._queue.get(timeout=seconds)
            except queue.Empty:
                break
            if another is None:
                return True
            at_hand.append(another)
            if deadline is None:
                deadline = time.monotonic() + self.limits.wait
        return False

    def _round(self, at_hand: Sequence[_Waiting[Item]]) -> None:
        oldest, *others = at_hand
        prepared: list[tuple[_Waiting[Item], Sequence[Piece]]] = []
        room = self.limits.round
        for waiting in (oldest, *sorted(others, key=lambda each: each.left)):
            if room <= 0:
                break
            before = waiting.left
            share = waiting.share(min(self.limits.share, room))
            room -= before - waiting.left
            try:
                prepared.append((waiting, self._prepare(share)))
            except Exception as error:  # it is the asker's to see
                waiting.answer.set_exception(error)
        try:
            numbers = list(self._score([piece for _, pieces in prepared for piece in pieces]))
        except Exception as error:
            for waiting, _ in prepared:
                waiting.answer.set_exception(error)
            return
        self.batches += 1
        position = 0
        for waiting, pieces in prepared:
            waiting.numbers += numbers[position : position + len(pieces)]
            position += len(pieces)
            if len(waiting.numbers) == len(waiting.job):
                self.answered += 1
                waiting.answer.set_result(waiting.numbers)
