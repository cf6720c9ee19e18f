"""Strengths of Bradley and Terry against a public implementation, by hand, and where there are none."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from solon.stats.bradley_terry import (
    ELO_PER_LOG_ODD,
    Outcomes,
    groups_of,
    has_maximum,
    resampled_strengths,
    strengths_of,
    wins_of,
    with_prior,
)

choix = pytest.importorskip("choix")


@pytest.mark.parametrize(("models", "votes", "seed"), [(2, 40, 0), (4, 200, 1), (8, 500, 2), (24, 4000, 3)])
def test_the_ratings_are_those_of_choix_to_one_elo_point(models: int, votes: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    planted = draws.normal(0, 0.8, models)
    data = []
    for _ in range(votes):
        i, j = (int(each) for each in draws.choice(models, 2, replace=False))
        data.append((i, j) if draws.random() < 1 / (1 + math.exp(planted[j] - planted[i])) else (j, i))
    ours = strengths_of(wins_of([Outcomes({pair: 1.0}) for pair in data], models))
    theirs = choix.opt_pairwise(models, data, tol=1e-10)
    assert np.abs(ours - (theirs - theirs.mean())).max() * ELO_PER_LOG_ODD < 1
    luce = choix.ilsr_pairwise(models, data)
    assert np.abs(ours - (luce - luce.mean())).max() * ELO_PER_LOG_ODD < 1


def test_a_tie_is_half_a_win_for_each_as_two_votes_of_choix_for_one_tie() -> None:
    ties, decided = [(0, 1), (1, 2), (1, 2)], [(0, 1), (0, 2), (2, 1), (1, 0)]
    ours = strengths_of(
        wins_of(
            [Outcomes({pair: 1.0}) for pair in decided] + [Outcomes({(a, b): 0.5, (b, a): 0.5}) for a, b in ties], 3
        )
    )
    doubled = [pair for pair in decided for _ in range(2)] + [each for a, b in ties for each in ((a, b), (b, a))]
    theirs = choix.opt_pairwise(3, doubled, tol=1e-10)
    assert ours == pytest.approx(theirs - theirs.mean(), abs=1e-4)


def test_two_models_have_the_log_odds_of_their_share() -> None:
    strong, weak = strengths_of(wins_of([Outcomes({(0, 1): 3.0, (1, 0): 1.0})], 2))
    assert strong - weak == pytest.approx(math.log(3), abs=1e-8) and strong + weak == pytest.approx(0, abs=1e-12)
    assert (strong - weak) * ELO_PER_LOG_ODD == pytest.approx(190.85, abs=0.01), "75 % are 191 Elo points"


def test_where_one_model_always_wins_there_is_no_maximum_but_with_the_prior() -> None:
    wins = wins_of([Outcomes({(0, 1): 5.0})], 2)
    assert not has_maximum(wins)
    with pytest.raises(ValueError, match="strongly connected"):
        strengths_of(wins)
    strong, weak = strengths_of(with_prior(wins, wins))
    assert strong - weak == pytest.approx(math.log(5.1 / 0.1), abs=1e-8)


def test_groups_that_nobody_compared_are_apart() -> None:
    wins = wins_of([Outcomes({(0, 2): 1.0}), Outcomes({(3, 1): 1.0})], 5)
    assert groups_of(wins) == [[0, 2], [1, 3], [4]]


def test_whole_conversations_are_resampled() -> None:
    """Ten equal votes in one conversation are worth one: the spread is that of the conversations, not of the votes."""
    alone = [Outcomes({(0, 1): 1.0} if number % 3 else {(1, 0): 1.0}) for number in range(60)]
    tenfold = [Outcomes({pair: 10 * count for pair, count in each.wins.items()}) for each in alone]
    spreads = []
    for conversations in (alone, tenfold):
        drawn, unbounded = resampled_strengths(conversations, 2, 400, seed=5)
        assert drawn.shape == (400, 2) and not unbounded
        spreads.append(float(drawn[:, 0].std()))
    assert spreads[0] == pytest.approx(spreads[1], rel=1e-6)
    again, _ = resampled_strengths(alone, 2, 400, seed=5)
    assert float(again[:, 0].std()) == spreads[0]


def test_importing_it_loads_neither_numpy_nor_scipy() -> None:
    line = "import sys, solon.stats.bradley_terry; sys.exit(bool({'scipy', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", line], check=False).returncode == 0
