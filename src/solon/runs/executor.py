"""Executors run the chunks of a stage, in this process or in several (`solon.runs.chunk_threads` has a third way).

`StageFolder.map` gives an executor the work and the unfinished chunks, and reads the results in order, so the journal
does not depend on the executor. `ProcessPool` pickles its work, so work is a small frozen dataclass with `__call__`,
never a closure. Each process gets the work once and keeps it for all of its chunks: it opens a model once.
"""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar

from solon.errors import RunError

T = TypeVar("T")
R = TypeVar("R")


class Executor(Protocol):
    """Runs work on chunks and returns the results in the order of the chunks."""

    def map(
        self, work: Callable[[Sequence[T]], Sequence[R]], chunks: Iterable[Sequence[T]]
    ) -> Generator[Sequence[R], None, None]:
        """One result for each chunk, in order.

        A chunk is taken when a process is free. An exception of the work is raised when its chunk's turn comes; closing
        the generator stops the work in progress.
        """
        ...


@dataclass(frozen=True, slots=True)
class InProcess:
    """Works on one chunk after the other in this process, each when its result is requested."""

    def map(
        self, work: Callable[[Sequence[T]], Sequence[R]], chunks: Iterable[Sequence[T]]
    ) -> Generator[Sequence[R], None, None]:
        """See `Executor.map`."""
        for chunk in chunks:
            yield work(chunk)


@dataclass(frozen=True, slots=True)
class ProcessPool:
    """Works on chunks in several processes of this machine; they start and end with each `map`."""

    processes: int

    def map(
        self, work: Callable[[Sequence[T]], Sequence[R]], chunks: Iterable[Sequence[T]]
    ) -> Generator[Sequence[R], None, None]:
        """See `Executor.map`; raises RunError when a process dies."""
        remaining = iter(chunks)
        workers: list[_Worker] = []
        busy: deque[_Worker] = deque()
        try:
            for chunk in itertools.islice(remaining, self.processes):
                workers.append(_Worker(work))
                busy.append(workers[-1].take(chunk))
            while busy:
                worker = busy.popleft()
                yield worker.result()
                busy.extend(worker.take(chunk) for chunk in itertools.islice(remaining, 1))
        finally:
            for worker in workers:
                worker.stop()


class _Worker:
    """A process that has the work and receives chunks through a pipe."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy the locks of torch's threads
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(work, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def take(self, chunk: Sequence[Any]) -> _Worker:
        self._pipe.send(chunk)
        return self

    def result(self) -> Any:
        try:
            result, error = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RunError(
                f"a process that worked on a chunk died (exit code {self._process.exitcode})",
                remedy="Check the memory, then run the same command again: finished chunks are kept",
            ) from None
        if error is not None:
            raise error
        return result

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()
        self._pipe.close()


def _serve(work: Callable[[Any], Any], pipe: Connection) -> None:
    """Work on chunks until the pipe closes; Ctrl-C is handled by the parent process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            chunk = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((work(chunk), None))
        except Exception as error:
            pipe.send((None, error))
