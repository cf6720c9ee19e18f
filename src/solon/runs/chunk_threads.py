"""An executor that works on several chunks at once in threads of this process, for engines that are elsewhere.

One thread runs at a time; it lets the next one run only while it waits for an engine (`Exclusive.released`). So the
work of a stage, the cache of answers and tokenizers need no locks, and a stage that was written for one process works
unchanged. Waiting is what takes long, and that overlaps. Chunks are taken as they are needed, and results that are
ready too early wait in memory, at most as many as there are threads.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Exclusive:
    """A lock that a thread holds while it works, and gives away while it waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: int | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it for the length of a block."""
        self._take()
        try:
            yield
        finally:
            self._give()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Give it away for the length of a block; a thread that does not hold it just goes on."""
        if self._holder != threading.get_ident():
            yield
            return
        self._give()
        try:
            yield
        finally:
            self._take()

    def _take(self) -> None:
        self._lock.acquire()
        self._holder = threading.get_ident()

    def _give(self) -> None:
        self._holder = None
        self._lock.release()


@dataclass(frozen=True, slots=True)
class ChunkThreads:
    """Works on as many chunks at once as there are threads; closing `map` waits for those in progress.

    What they ask is answered, and kept where answers are kept, so that a stopped run loses nothing.
    """

    threads: int
    exclusive: Exclusive = field(default_factory=Exclusive)

    def map(
        self, work: Callable[[Sequence[T]], Sequence[R]], chunks: Iterable[Sequence[T]]
    ) -> Generator[Sequence[R], None, None]:
        """See `Executor.map`; an interrupt waits for nothing: whoever has the engines ends what they are asked."""
        remaining = iter(chunks)
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="solon-chunk")
        taken: deque[Future[Any]] = deque()
        waits = True

        def take(count: int) -> None:
            taken.extend(pool.submit(self._run, work, chunk) for chunk in itertools.islice(remaining, count))

        try:
            take(2 * self.threads)
            while taken:
                yield taken.popleft().result()
                take(1)
        except KeyboardInterrupt:
            waits = False
            raise
        finally:
            pool.shutdown(wait=waits, cancel_futures=True)

    def _run(self, work: Callable[[Sequence[T]], Sequence[R]], chunk: Sequence[T]) -> Sequence[R]:
        with self.exclusive.held():
            return work(chunk)
