"""Micro-batches: everyone gets the numbers of their own pieces, and failures stay apart."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from solon.serving.batching import Batcher, Busy, Limits


class Doubler:
    """Doubles numbers; can be held at its work, and remembers what it was given at a time."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Event()
        self.batches: list[list[int]] = []

    def prepare(self, job: list[int]) -> list[int]:
        if -1 in job:
            raise ValueError("minus one")
        return job

    def score(self, pieces: Sequence[int]) -> list[float]:
        self.entered.set()
        assert self.go.wait(30)
        self.batches.append(list(pieces))
        if 999 in pieces:
            raise RuntimeError("poison")
        return [2.0 * piece for piece in pieces]


@pytest.fixture
def doubler() -> Doubler:
    return Doubler()


def test_what_comes_together_is_scored_together_and_told_apart(doubler: Doubler) -> None:
    batcher = Batcher(doubler.prepare, doubler.score)
    doubler.go.clear()
    first = batcher.submit([1])
    assert doubler.entered.wait(30)
    answers = [batcher.submit([number] * (number % 3)) for number in range(64)]
    doubler.go.set()
    assert first.result(30) == [2.0]
    assert [answer.result(30) for answer in answers] == [[2.0 * number] * (number % 3) for number in range(64)]
    batcher.close()
    assert batcher.batches == len(doubler.batches) == 2 and batcher.answered == 65


def test_batches_keep_to_their_size(doubler: Doubler) -> None:
    batcher = Batcher(doubler.prepare, doubler.score, Limits(jobs=4))
    doubler.go.clear()
    answers = [batcher.submit([number]) for number in range(10)]
    doubler.go.set()
    assert [answer.result(30) for answer in answers] == [[2.0 * number] for number in range(10)]
    batcher.close()
    assert max(map(len, doubler.batches)) <= 4


def test_a_job_that_cannot_be_prepared_fails_alone(doubler: Doubler) -> None:
    batcher = Batcher(doubler.prepare, doubler.score)
    doubler.go.clear()
    held = batcher.submit([0])
    assert doubler.entered.wait(30)
    bad, good = batcher.submit([-1]), batcher.submit([4])
    doubler.go.set()
    with pytest.raises(ValueError, match="minus one"):
        bad.result(30)
    assert good.result(30) == [8.0] and held.result(30) == [0.0]
    with pytest.raises(RuntimeError, match="poison"):
        batcher.submit([999]).result(30)
    assert batcher.submit([5]).result(30) == [10.0], "it goes on after a failure"
    batcher.close()


def test_closing_answers_what_was_taken_and_takes_no_more(doubler: Doubler) -> None:
    batcher = Batcher(doubler.prepare, doubler.score)
    doubler.go.clear()
    answers = [batcher.submit([number]) for number in range(5)]
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(batcher.close)
        while not batcher._closed.is_set():
            pass
        with pytest.raises(Busy):
            batcher.submit([1])
        doubler.go.set()
        closing.result(30)
    assert [answer.result(0) for answer in answers] == [[2.0 * number] for number in range(5)]
    batcher.close()


def test_a_full_queue_turns_away(doubler: Doubler) -> None:
    batcher = Batcher(doubler.prepare, doubler.score, Limits(wait=0, jobs=1, waiting=2))
    doubler.go.clear()
    first = batcher.submit([1])
    assert doubler.entered.wait(30)
    waiting = [batcher.submit([2]), batcher.submit([3])]
    with pytest.raises(Busy, match="2 requests wait"):
        batcher.submit([4])
    doubler.go.set()
    assert [each.result(30) for each in (first, *waiting)] == [[2.0], [4.0], [6.0]]
    batcher.close()
