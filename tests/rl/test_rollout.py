"""Which prompts a step draws, and how replies are laid out."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from solon.rl.rollout import PromptDraws, Reply, occurrences, response_mask, sample_seed
from solon.training import batches
from solon.training.batches import Orders, batch_at, shuffled


@given(
    st.integers(1, 30), st.integers(1, 30), st.floats(0, 1), st.integers(1, 40), st.integers(0, 50), st.integers(0, 5)
)
def test_draws_are_a_function_of_seed_and_step_and_keep_the_share(
    red: int, helpful: int, share: float, count: int, step: int, seed: int
) -> None:
    drawn = PromptDraws((red, helpful), (share, 1 - share), count, seed).at(step)
    assert drawn == PromptDraws((red, helpful), (share, 1 - share), count, seed).at(step)
    assert len(drawn) == count
    assert sum(kind == 0 for kind, _ in drawn) == round(count * share)
    assert all(0 <= index < (red, helpful)[kind] for kind, index in drawn)


def test_every_prompt_is_used_equally_often() -> None:
    used = Counter(pair for step in range(30) for pair in PromptDraws((20, 30), (0.5, 0.5), 20, 1).at(step))
    assert {kind: {n for (k, _), n in used.items() if k == kind} for kind in (0, 1)} == {0: {15}, 1: {10}}
    assert len(used) == 50


def test_a_kind_without_prompts_leaves_its_share_to_the_other() -> None:
    assert {kind for kind, _ in PromptDraws((0, 5), (0.5, 0.5), 8, 1).at(0)} == {1}
    assert {kind for kind, _ in PromptDraws((0, 5), (1.0, 0.0), 8, 1).at(0)} == {1}
    assert len(PromptDraws((0, 5), (1.0, 0.0), 8, 1).at(0)) == 8


def test_seeds_differ_by_step_row_and_sample() -> None:
    seeds = {sample_seed(0, step, row, sample) for step in range(3) for row in "ab" for sample in range(2)}
    assert len(seeds) == 12


def test_what_is_drawn_again_in_a_step_has_seeds_and_a_group_of_its_own() -> None:
    assert occurrences("abacab") == [0, 0, 1, 0, 2, 1]
    assert sample_seed(0, 1, "a", 1) == sample_seed(0, 1, "a", 1, 0), "a first draw keeps the seed that it had"
    seeds = {sample_seed(0, 1, row, sample, again) for row in "ab" for sample in range(3) for again in range(4)}
    assert len(seeds) == 24
    first, again = (Reply("a", "helpful", (1,), (3,), "x", True, occurrence) for occurrence in (0, 1))
    assert first.group != again.group and first.row_id == again.row_id


def drawn_by_definition(
    sizes: tuple[int, int], shares: tuple[float, float], count: int, step: int, seed: int
) -> list[tuple[int, int]]:
    """As the draws were first written: an order for each prompt."""
    first = round(count * shares[0] / sum(shares))
    counts = (first, count - first)
    places = [
        (kind, *divmod(place, sizes[kind]))
        for kind in (0, 1)
        for place in range(step * counts[kind], (step + 1) * counts[kind])
    ]
    return [(kind, shuffled(sizes[kind], seed, "prompts", kind, lap)[position]) for kind, lap, position in places]


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 1), st.integers(1, 30), st.lists(st.integers(0, 20)))
def test_draws_do_not_depend_on_the_steps_before(
    red: int, helpful: int, share: float, count: int, steps: list[int]
) -> None:
    draws = PromptDraws((red, helpful), (share, 1 - share), count, seed=3)
    for step in steps:  # in any order, as runs that are killed and resumed meet them
        assert draws.at(step) == drawn_by_definition((red, helpful), (share, 1 - share), count, step, 3)


def test_an_epoch_is_shuffled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[object, ...]] = []

    def counted(size: int, *parts: object) -> list[int]:
        made.append((size, *parts))
        return shuffled(size, *parts)

    monkeypatch.setattr(batches, "shuffled", counted)
    draws = PromptDraws((1, 183_000), (0.5, 0.5), 64, seed=1)
    drawn = [pair for step in range(20) for pair in draws.at(step)]
    assert len(drawn) == 20 * 64 and len({index for kind, index in drawn if kind == 1}) == 20 * 32
    assert [parts for parts in made if parts[0] > 1] == [(183_000, 1, "prompts", 1, 0)]
    made.clear()
    orders = Orders()
    assert [batch_at(step, 10, 2, 7, orders) for step in range(10)] == [batch_at(step, 10, 2, 7) for step in range(10)]
    assert made[:2] == [(10, 7, "epoch", 0), (10, 7, "epoch", 1)] and len(made) == 2 + 10


def test_without_any_prompt_nothing_is_drawn() -> None:
    assert PromptDraws((0, 0), (0.5, 0.5), 8, 1).at(0) == []


def test_responses_are_aligned_at_the_left() -> None:
    replies = [Reply("a", "red_team", (1, 2), (3, 4, 0), "x", True), Reply("b", "helpful", (1,), (3,), "y", False)]
    assert torch.equal(response_mask(replies), torch.tensor([[True, True, True], [True, False, False]]))
