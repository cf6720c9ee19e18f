"""Coefficients against scipy's, and intervals that hold a planted correlation as often as they say."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from solon.stats.correlation import Correlation, correlation, pearson, ranks, spearman

NUMBERS = st.integers(-20, 20).map(float)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=30))
def test_both_coefficients_are_scipys(pairs: list[tuple[float, float]]) -> None:
    xs, ys = zip(*pairs, strict=True)
    if len(set(xs)) == 1 or len(set(ys)) == 1:
        assert pearson(pairs) is None and spearman(pairs) is None
        return
    assert pearson(pairs) == pytest.approx(stats.pearsonr(xs, ys).statistic, abs=1e-9)
    assert spearman(pairs) == pytest.approx(stats.spearmanr(xs, ys).statistic, abs=1e-9)


def test_equal_values_share_a_rank() -> None:
    assert ranks([3.0, 1.0, 3.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]
    assert ranks([]) == []


@pytest.mark.parametrize("pairs", [[], [(1.0, 2.0)], [(0.1, 1.0), (0.1, 2.0), (0.1, 3.0)]])
def test_nothing_is_made_up_where_it_is_undefined(pairs: list[tuple[float, float]]) -> None:
    assert pearson(pairs) is None
    assert correlation([[pair] for pair in pairs], pearson, seed=0) is None


def test_the_interval_holds_a_planted_correlation() -> None:
    held, planted = 0, 0.6
    for seed in range(60):
        rng = random.Random(seed)
        units = []
        for _ in range(60):
            x = rng.gauss(0, 1)
            units.append([(x, planted * x + (1 - planted**2) ** 0.5 * rng.gauss(0, 1))])
        found = correlation(units, pearson, seed, resamples=200)
        assert found is not None
        held += found.low <= planted <= found.high
    assert held >= 52


def test_whole_units_are_drawn() -> None:
    """Copies of a case within its unit are no new evidence: the interval stays as wide."""
    rng = random.Random(0)
    single = [[(rng.gauss(0, 1), rng.gauss(0, 1))] for _ in range(30)]
    one = correlation(single, pearson, seed=1)
    tenfold = correlation([unit * 10 for unit in single], pearson, seed=1)
    assert one is not None and tenfold is not None
    assert tenfold.high - tenfold.low == pytest.approx(one.high - one.low, abs=0.05)
    assert (one.n, one.units, tenfold.n, tenfold.units) == (30, 30, 300, 30)


def test_one_unit_says_nothing_about_others() -> None:
    found = correlation([[(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]], pearson, seed=0)
    assert found == Correlation(1.0, -1.0, 1.0, 3, 1)


def test_the_same_seed_gives_the_same_interval() -> None:
    units = [[(float(n), float(n * n % 7))] for n in range(20)]
    assert correlation(units, spearman, seed=3) == correlation(units, spearman, seed=3)
    assert isinstance(correlation(units, spearman, seed=3), Correlation)
