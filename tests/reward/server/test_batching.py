"""Micro-batches: everyone gets the numbers of their own pieces, and failures stay apart."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from solon.reward.server.batching import Batcher, Busy, Limits


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


def test_concurrent_requests_are_scored_together_and_answered_separately(doubler: Doubler) -> None:
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


def test_a_small_request_is_answered_between_two_shares_of_a_big_one(doubler: Doubler) -> None:
    batcher = Batcher(doubler.prepare, doubler.score, Limits(wait=0, share=10, round=20))
    doubler.go.clear()
    big = batcher.submit(list(range(1000, 2000)))
    assert doubler.entered.wait(30)
    others = [batcher.submit(list(range(number, number + 30))) for number in (100, 200, 300)]
    small = batcher.submit([5])
    small.add_done_callback(lambda _: finished.append((big.done(), *(each.done() for each in others))))
    finished: list[tuple[bool, ...]] = []
    doubler.go.set()
    assert small.result(30) == [10.0]
    assert big.result(30) == [2.0 * number for number in range(1000, 2000)]
    assert [each.result(30) for each in others] == [
        [2.0 * number for number in range(start, start + 30)] for start in (100, 200, 300)
    ]
    batcher.close()
    assert finished == [(False,) * 4]
    assert max(map(len, doubler.batches)) <= 20 and batcher.answered == 5
    first = next(number for number, batch in enumerate(doubler.batches) if 1999 in batch)
    assert first < 105, "the oldest goes on in every round"


def test_a_share_weighs_what_its_items_do_and_a_heavy_item_goes_alone(doubler: Doubler) -> None:
    batcher = Batcher(doubler.prepare, doubler.score, Limits(share=10), weigh=lambda item: item)
    assert batcher.submit([4, 4, 4, 50, 1, 9]).result(30) == [8.0, 8.0, 8.0, 100.0, 2.0, 18.0]
    batcher.close()
    assert doubler.batches == [[4, 4], [4], [50], [1, 9]]


def test_a_big_request_that_fails_in_a_later_share_fails_whole_and_alone(doubler: Doubler) -> None:
    batcher = Batcher(doubler.prepare, doubler.score, Limits(share=2))
    bad, good = batcher.submit([1, 2, 3, -1, 5, 6]), batcher.submit([1, 2, 3, 4])
    with pytest.raises(ValueError, match="minus one"):
        bad.result(30)
    assert good.result(30) == [2.0, 4.0, 6.0, 8.0]
    batcher.close()
    assert batcher.answered == 1
