"""Works on chunks that ask servers in threads, so that the servers always have enough requests.

A chunk waits for its slowest request. Meanwhile the next chunks are begun: one more whenever the servers have room and
the chunk that was begun last has asked its questions. Work that asks no server therefore goes on one chunk after the
other, as `InProcess` does it. Results come in order, and only so many chunks are taken ahead of the first unfinished
one that memory stays flat.

When a stop was requested no chunk is begun. Closing the generator withdraws what was not sent, and waits for what was:
its answers are stored. So does an error, for as long as `LAST_ANSWERS`. A second interrupt cancels everything.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from solon.http.request_flow import AHEAD, LAST_ANSWERS, RequestFlow
from solon.runs.interrupt import StopRequest

T = TypeVar("T")
R = TypeVar("R")

MOST_CHUNKS = 128
"""Chunks in progress, or finished before an earlier one; each has a thread."""
_LAST_SECONDS = 5.0
"""How long threads that were cancelled are waited for, all of them together."""


@dataclass(frozen=True, slots=True)
class ChunkFlow:
    """See `solon.runs.executor.Executor`; the engines that the work asks count their requests in `flow`."""

    flow: RequestFlow
    stop: StopRequest

    def map(
        self, work: Callable[[Sequence[T]], Sequence[R]], chunks: Iterable[Sequence[T]]
    ) -> Generator[Sequence[R], None, None]:
        """See `solon.runs.executor.Executor`."""
        remaining = iter(chunks)
        begun: deque[_ChunkThread[R]] = deque()
        ended = False

        def is_ready() -> bool:
            return self._takes_more(begun, ended) or begun[0].done

        try:
            while True:
                with self.flow.changed:
                    self.flow.changed.wait_for(is_ready)
                    more = self._takes_more(begun, ended)
                if more:
                    chunk = next(remaining, None)
                    ended = chunk is None
                    if chunk is not None:
                        begun.append(_ChunkThread(work, chunk, self.flow))
                elif begun:
                    yield begun.popleft().result()
                if ended and not begun:
                    return
        except GeneratorExit:
            self._finish(begun)
            raise
        except Exception:
            self._finish(begun, LAST_ANSWERS)
            raise
        except BaseException:
            self._cancel(begun)
            raise

    def _takes_more(self, begun: Sequence[_ChunkThread[R]], ended: bool) -> bool:
        """Whether another chunk is begun now."""
        if ended or not begun:
            return not ended
        if self.stop.made or len(begun) >= min(MOST_CHUNKS, AHEAD * self.flow.most):
            return False
        return begun[-1].done or (begun[-1].has_asked and self.flow.has_room)

    def _finish(self, begun: Sequence[_ChunkThread[R]], seconds: float = math.inf) -> None:
        """Have what was sent answered within some seconds, and nothing more."""
        self.flow.withdraw()
        try:
            ends_at = time.monotonic() + seconds
            for each in begun:
                each.join(None if seconds == math.inf else max(0.0, ends_at - time.monotonic()))
            if not all(each.done for each in begun):
                self._cancel(begun)
        except BaseException:  # a second interrupt
            self._cancel(begun)
            raise
        self.flow.readmit()

    def _cancel(self, begun: Iterable[_ChunkThread[R]]) -> None:
        self.flow.withdraw()
        self.flow.cancel()
        ends_at = time.monotonic() + _LAST_SECONDS
        for each in begun:
            each.join(max(0.0, ends_at - time.monotonic()))
        self.flow.readmit()


class _ChunkThread(Generic[R]):
    """A thread that works on one chunk; it does not keep the program from ending."""

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]], chunk: Sequence[T], flow: RequestFlow) -> None:
        self.done = False
        self._flow = flow
        self._found: Sequence[R] = ()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work, chunk), name="solon-chunk", daemon=True)
        self._thread.start()

    @property
    def has_asked(self) -> bool:
        """Whether it has asked a server."""
        return self._flow.has_asked(self._thread.ident or 0)

    def join(self, seconds: float | None = None) -> None:
        """Wait for its end."""
        self._thread.join(seconds)

    def result(self) -> Sequence[R]:
        """What the work gave, or the error that it raised."""
        if self._error is not None:
            raise self._error
        return self._found

    def _run(self, work: Callable[[Sequence[T]], Sequence[R]], chunk: Sequence[T]) -> None:
        try:
            self._found = work(chunk)
        except BaseException as error:
            self._error = error
        with self._flow.changed:
            self.done = True
            self._flow.forget(threading.get_ident())
