"""Batches: every row once per epoch, in an order that seed and epoch decide, with little padding."""

from hypothesis import given
from hypothesis import strategies as st

from solon.training.batches import (
    PASS_COST,
    batch_at,
    micro_batches,
    pad_right,
    pass_cost,
    shuffled,
    span_mask,
    steps_per_epoch,
)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_uses_every_row_once(size: int, batch: int, seed: int, epoch: int) -> None:
    steps = steps_per_epoch(size, batch)
    rows = [row for step in range(epoch * steps, (epoch + 1) * steps) for row in batch_at(step, size, batch, seed)]
    assert sorted(rows) == list(range(size))


def test_order_is_a_function_of_seed_and_epoch() -> None:
    assert batch_at(3, 100, 25, seed=1) == batch_at(3, 100, 25, seed=1)
    assert batch_at(0, 100, 100, seed=1) != batch_at(0, 100, 100, seed=2)
    assert batch_at(0, 100, 100, seed=1) != batch_at(1, 100, 100, seed=1)
    assert shuffled(50, "a") != shuffled(50, "b")


@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=60),
    st.integers(50, 3000),
    st.sampled_from([1, 2]),
    st.sampled_from([PASS_COST, 48]),
)
def test_micro_batches_keep_every_row_and_both_limits(
    lengths: list[int], micro_tokens: int, width: int, cost: int
) -> None:
    parts = list(micro_batches(range(len(lengths)), lambda row: lengths[row], micro_tokens, width=width, cost=cost))
    assert sorted(row for part in parts for row in part) == list(range(len(lengths)))
    for part in parts:
        longest = max(lengths[row] for row in part)
        assert len(part) == 1 or len(part) * longest * width <= micro_tokens
        assert sum(longest - lengths[row] for row in part) * width <= cost


def test_a_pass_of_a_large_model_costs_fewer_tokens() -> None:
    assert pass_cost(30_000) == pass_cost(2_400_000) == PASS_COST
    assert 48 < pass_cost(10_000_000) == 128 < PASS_COST
    assert pass_cost(134_515_008) == pass_cost(8_000_000_000) == 48


def test_padding_stands_on_the_right() -> None:
    assert pad_right([[1, 2, 3], [4]], fill=9).tolist() == [[1, 2, 3], [4, 9, 9]]
    assert span_mask([1, 0], [3, 1], 3).tolist() == [[False, True, True], [True, False, False]]
