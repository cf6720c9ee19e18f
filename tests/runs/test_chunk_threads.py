"""Chunks in threads: in order, one thread working at a time, several waiting, and a bounded number taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from tests.runs.picklable import Square

from solon.errors import EngineError
from solon.runs.chunk_threads import ChunkThreads, Exclusive

CHUNKS = [[start, start + 1] for start in range(0, 24, 2)]


def test_results_come_in_the_order_of_the_chunks() -> None:
    executor = ChunkThreads(4)

    def work(chunk: Sequence[int]) -> list[int]:
        with executor.exclusive.released():
            time.sleep(0.02 * (chunk[0] % 3))
        return [number**2 for number in chunk]

    found = [row for rows in executor.map(work, iter(CHUNKS)) for row in rows]
    assert found == [number**2 for number in range(24)]


def test_one_thread_works_while_the_others_wait() -> None:
    executor = ChunkThreads(4)
    working, most_working = 0, 0
    together = threading.Barrier(4, timeout=20)

    def work(chunk: Sequence[int]) -> Sequence[int]:
        nonlocal working, most_working
        working += 1
        time.sleep(0.005)
        most_working = max(most_working, working)
        working -= 1
        with executor.exclusive.released():
            together.wait()  # all four threads come here, or this breaks
        return chunk

    assert list(executor.map(work, iter(CHUNKS))) == CHUNKS
    assert most_working == 1


def test_chunks_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def chunks() -> Iterator[list[int]]:
        for number, chunk in enumerate(CHUNKS):
            taken.append(number)
            yield chunk

    results = ChunkThreads(2).map(lambda chunk: chunk, chunks())
    assert taken == []
    for number in range(4):
        next(results)
        assert len(taken) == number + 4
    results.close()


def test_an_error_comes_at_its_chunk_s_turn() -> None:
    results = ChunkThreads(3).map(Square(fails_at=5), iter(CHUNKS))
    assert [row.number for row in (*next(results), *next(results))] == [0, 1, 2, 3]
    with pytest.raises(EngineError, match="no answer"):
        next(results)


def test_closing_waits_for_the_chunks_in_progress() -> None:
    executor = ChunkThreads(2)
    begun, ended = [], []

    def work(chunk: Sequence[int]) -> Sequence[int]:
        begun.append(chunk[0])
        with executor.exclusive.released():
            time.sleep(0.1)
        ended.append(chunk[0])
        return chunk

    results = executor.map(work, iter(CHUNKS))
    next(results)
    results.close()
    assert set(begun) == set(ended)
    assert len(begun) < len(CHUNKS)


def test_a_thread_without_the_lock_is_not_held_up() -> None:
    exclusive = Exclusive()
    with exclusive.released(), exclusive.held():
        pass


def test_an_interrupt_waits_for_nothing() -> None:
    executor, ended = ChunkThreads(2), threading.Event()

    def work(chunk: Sequence[int]) -> Sequence[int]:
        with executor.exclusive.released():
            if chunk == CHUNKS[1]:
                raise KeyboardInterrupt  # as the main thread gets it while it waits for a chunk
            ended.wait(20)
        return chunk

    began = time.monotonic()
    results = executor.map(work, iter(CHUNKS[1:3]))
    with pytest.raises(KeyboardInterrupt):
        next(results)
    assert time.monotonic() - began < 10
    ended.set()
