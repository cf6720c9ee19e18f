"""Where the chunks of a stage are worked on: in this process, or in several.

`StageFolder.map` gives an executor its work and the chunks that are not finished yet, and takes the results in their
order, so a journal is the same whoever did the work. What is given to an executor of several processes must be
picklable: work is a small frozen dataclass with a `__call__`, never a closure. Each process gets the work once, and
keeps it for all of its chunks, so that a model is opened once in each.
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
    """Works on chunks and gives the results in the order of the chunks."""

    def map(
        self, work: Callable[[Sequence[T]], Sequence[R]], chunks: Iterable[Sequence[T]]
    ) -> Generator[Sequence[R], None, None]:
        """One result for each chunk, in order.

        Chunks are taken when there is somebody to work on them. What the work raises is raised at its chunk's turn;
        closing the generator ends what is under way.
        """
        ...


@dataclass(frozen=True, slots=True)
class InProcess:
    """Works on one chunk after the other in this process: on each when its result is asked for."""

    def map(
        self, work: Callable[[Sequence[T]], Sequence[R]], chunks: Iterable[Sequence[T]]
    ) -> Generator[Sequence[R], None, None]:
        """See `Executor.map`."""
        for chunk in chunks:
            yield work(chunk)


@dataclass(frozen=True, slots=True)
class ProcessPool:
    """Works on chunks in several processes of this machine, which start afresh and end with the map."""

    processes: int

    def map(
        self, work: Callable[[Sequence[T]], Sequence[R]], chunks: Iterable[Sequence[T]]
    ) -> Generator[Sequence[R], None, None]:
        """See `Executor.map`; raises RunError when a process dies."""
        owed = iter(chunks)
        workers: list[_Worker] = []
        busy: deque[_Worker] = deque()
        try:
            for chunk in itertools.islice(owed, self.processes):
                workers.append(_Worker(work))
                busy.append(workers[-1].take(chunk))
            while busy:
                worker = busy.popleft()
                yield worker.result()
                busy.extend(worker.take(chunk) for chunk in itertools.islice(owed, 1))
        finally:
            for worker in workers:
                worker.stop()


class _Worker:
    """A process that holds the work and gets chunks through a pipe."""

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
                remedy="Look for a lack of memory, then run the same command again: what is finished is kept",
            ) from None
        if error is not None:
            raise error
        return result

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()
        self._pipe.close()


def _serve(work: Callable[[Any], Any], pipe: Connection) -> None:
    """Work on chunks until the other end is closed; a request to stop is the other end's to obey."""
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
