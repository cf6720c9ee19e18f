"""Micro-batching across requests: whoever asks at the same time shares a forward pass.

One thread owns the model, its tokenizer and its rendering, none of which need be safe to share. It takes the first
request that waits, gives others a moment to join, prepares each apart, so that a bad one fails alone, and scores all in
one go. While it works the next batch gathers by itself, so the moment may be short.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Job = TypeVar("Job")
Piece = TypeVar("Piece")


@dataclass(frozen=True, slots=True)
class Limits:
    """How requests are gathered."""

    wait: float = 0.003
    """Seconds that the first request of a batch waits for others."""
    jobs: int = 256
    """Most requests in one batch."""
    waiting: int = 4096
    """Most requests that may wait; more are turned away."""


class Busy(Exception):
    """So many requests wait, or the batcher is closing, that no more is taken."""


@dataclass(slots=True)
class _Waiting(Generic[Job]):
    job: Job
    answer: Future[list[float]] = field(default_factory=Future)


class Batcher(Generic[Job, Piece]):
    """Answers jobs from any thread with the numbers of their pieces.

    `prepare` turns a job into pieces and may raise; `score` gives a number for each piece, whatever job it is of.
    `around` is entered once by the thread that does both.
    """

    def __init__(
        self,
        prepare: Callable[[Job], Sequence[Piece]],
        score: Callable[[Sequence[Piece]], Sequence[float]],
        limits: Limits | None = None,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.limits = limits or Limits()
        self.batches = 0
        self.answered = 0
        self._prepare = prepare
        self._score = score
        self._around = around
        self._closed = threading.Event()
        self._taking = threading.Lock()
        self._queue: queue.Queue[_Waiting[Job] | None] = queue.Queue(self.limits.waiting)
        self._thread = threading.Thread(target=self._work, name="micro-batching", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> Future[list[float]]:
        """The numbers of a job, to come; raises Busy when too many wait or the batcher is closing."""
        waiting = _Waiting(job)
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
        with self._around():
            for batch in self._gathered():
                self._answer(batch)

    def _gathered(self) -> Iterator[list[_Waiting[Job]]]:
        """Batches until the end is met."""
        ended = False
        while not ended:
            first = self._queue.get()
            if first is None:
                return
            batch, deadline = [first], time.monotonic() + self.limits.wait
            while len(batch) < self.limits.jobs:
                try:
                    another = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    break
                if another is None:
                    ended = True
                    break
                batch.append(another)
            yield batch

    def _answer(self, batch: Sequence[_Waiting[Job]]) -> None:
        prepared: list[tuple[_Waiting[Job], Sequence[Piece]]] = []
        for waiting in batch:
            try:
                prepared.append((waiting, self._prepare(waiting.job)))
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
            waiting.answer.set_result(numbers[position : position + len(pieces)])
            position += len(pieces)
            self.answered += 1
