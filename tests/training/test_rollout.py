"""Which prompts a step draws, and how replies are laid out."""

from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st

from solon.training.rollout import Reply, draw_prompts, response_mask, sample_seed


@given(
    st.integers(1, 30), st.integers(1, 30), st.floats(0, 1), st.integers(1, 40), st.integers(0, 50), st.integers(0, 5)
)
def test_draws_are_a_function_of_seed_and_step_and_keep_the_share(
    red: int, helpful: int, share: float, count: int, step: int, seed: int
) -> None:
    drawn = draw_prompts((red, helpful), (share, 1 - share), count, step, seed)
    assert drawn == draw_prompts((red, helpful), (share, 1 - share), count, step, seed)
    assert len(drawn) == count
    assert sum(kind == 0 for kind, _ in drawn) == round(count * share)
    assert all(0 <= index < (red, helpful)[kind] for kind, index in drawn)


def test_every_prompt_is_used_equally_often() -> None:
    used = Counter(pair for step in range(30) for pair in draw_prompts((20, 30), (0.5, 0.5), 20, step, 1))
    assert {kind: {n for (k, _), n in used.items() if k == kind} for kind in (0, 1)} == {0: {15}, 1: {10}}
    assert len(used) == 50


def test_a_kind_without_prompts_leaves_its_share_to_the_other() -> None:
    assert {kind for kind, _ in draw_prompts((0, 5), (0.5, 0.5), 8, 0, 1)} == {1}
    assert {kind for kind, _ in draw_prompts((0, 5), (1.0, 0.0), 8, 0, 1)} == {1}
    assert len(draw_prompts((0, 5), (1.0, 0.0), 8, 0, 1)) == 8


def test_seeds_differ_by_step_row_and_sample() -> None:
    seeds = {sample_seed(0, step, row, sample) for step in range(3) for row in "ab" for sample in range(2)}
    assert len(seeds) == 12


def test_responses_are_aligned_at_the_left() -> None:
    replies = [Reply("a", "red_team", (1, 2), (3, 4, 0), "x", True), Reply("b", "helpful", (1,), (3,), "y", False)]
    assert torch.equal(response_mask(replies), torch.tensor([[True, True, True], [True, False, False]]))
