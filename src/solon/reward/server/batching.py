"""Micro-batching across requests: concurrent requests share forward passes, and none waits for a big one to finish.

One thread owns the model, its tokenizer and its rendering, which need not be thread-safe. It works in rounds of bounded
size. After the first request it waits a moment for others. Each round takes a share of every current request: of the
oldest first, then of those with the least work left. So a small request is answered between two shares of a big one.
Shares are prepared separately, so that a bad request fails by itself, and scored together. Further requests queue up
during a round, so the moment can be short.
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
    """How requests are batched; `weigh` defines weights, which are characters in the server."""

    wait: float = 0.003
    """Seconds that the first request of a batch waits for others."""
    jobs: int = 256
    """Most requests in one batch."""
    waiting: int = 4096
    """Most requests in the queue; more are refused."""
    share: int = 1 << 16
    """Weight of one request's share in a round: about one forward pass."""
    round: int = 1 << 18
    """Weight of a round."""


class Busy(Exception):
    """The queue is full, or the batcher is closing."""


@dataclass(slots=True)
class _Waiting(Generic[Item]):
    job: Sequence[Item]
    weights: Sequence[int]
    answer: Future[list[float]] = field(default_factory=Future)
    numbers: list[float] = field(default_factory=list)
    """The numbers of finished items, in order."""
    left: int = field(init=False)
    """The weight of the items that are not done."""

    def __post_init__(self) -> None:
        """Nothing is done yet."""
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
    whatever job it is from; `weigh` gives the cost of an item. The working thread enters `around` once.
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
        """A future with the numbers of a job; raises Busy when the queue is full or the batcher is closing."""
        waiting = _Waiting(job, [self._weigh(item) for item in job])
        with self._taking:  # so that nothing can follow the end marker of `close`
            if self._closed.is_set():
                raise Busy("closing")
            try:
                self._queue.put_nowait(waiting)
            except queue.Full:
                raise Busy(f"{self.limits.waiting} requests wait") from None
        return waiting.answer

    def close(self) -> None:
        """Accept nothing more, answer all accepted jobs, then stop."""
        with self._taking:
            first = not self._closed.is_set()
            self._closed.set()
        if first:
            self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        current: list[_Waiting[Item]] = []
        ended = False
        with self._around():
            while not ended or current:
                ended = ended or self._gather(current)
                if current:
                    self._round(current)
                current = [waiting for waiting in current if not waiting.answer.done()]

    def _gather(self, current: list[_Waiting[Item]]) -> bool:
        """Move queued jobs to `current`, waiting for one if it is empty; returns whether the end marker came."""
        deadline = None if not current else 0.0
        while len(current) < self.limits.jobs:
            try:
                seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
                another = self._queue.get(timeout=seconds)
            except queue.Empty:
                break
            if another is None:
                return True
            current.append(another)
            if deadline is None:
                deadline = time.monotonic() + self.limits.wait
        return False

    def _round(self, current: Sequence[_Waiting[Item]]) -> None:
        oldest, *others = current
        prepared: list[tuple[_Waiting[Item], Sequence[Piece]]] = []
        budget = self.limits.round
        for waiting in (oldest, *sorted(others, key=lambda each: each.left)):
            if budget <= 0:
                break
            before = waiting.left
            share = waiting.share(min(self.limits.share, budget))
            budget -= before - waiting.left
            try:
                prepared.append((waiting, self._prepare(share)))
            except Exception as error:  # goes to the client
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
