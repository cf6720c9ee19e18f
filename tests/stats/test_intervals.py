"""Intervals against published values and by their properties."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from solon.stats.intervals import (
    Z95,
    interval,
    mean,
    per_cent,
    percent,
    probability,
    share,
    signed,
    signed_interval,
    wilson,
)


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [
        # Newcombe 1998, table I, Wilson score method without continuity correction.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(count: int, n: int, low: float, high: float) -> None:
    found = wilson(count, n)
    assert found.value == count / n
    assert found.n == n
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_inside_the_unit_interval_and_mirrors(case: tuple[int, int]) -> None:
    count, n = case
    found, mirrored = wilson(count, n), wilson(n - count, n)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low == pytest.approx(1 - mirrored.high, abs=1e-12)
    assert (found.low == 0) == (count == 0)
    assert (found.high == 1) == (count == n)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_ends_solve_the_score_equation(case: tuple[int, int]) -> None:
    count, n = case
    found = wilson(count, n)
    for end in (found.low, found.high):
        if 0 < end < 1:
            assert abs(found.value - end) == pytest.approx(Z95 * math.sqrt(end * (1 - end) / n), rel=1e-6)


@pytest.mark.parametrize(("count", "n"), [(0, 0), (-1, 5), (6, 5), (1, -1)])
def test_wilson_refuses_what_is_no_share(count: int, n: int) -> None:
    with pytest.raises(ValueError, match="not a share"):
        wilson(count, n)


def test_no_cases_give_no_figure() -> None:
    assert share([]) is None
    assert mean([]) is None


def test_share_counts_flags() -> None:
    assert share(x > 2 for x in range(5)) == wilson(2, 5)


def test_mean_has_students_interval() -> None:
    found = mean([1.0, 2.0, 3.0, 4.0])
    assert found is not None
    # The sample's standard deviation is sqrt(5/3); its error over four values is sqrt(5/12).
    assert found.value == 2.5
    # With three degrees of freedom the 97.5 % point of Student's t is 3.182446.
    assert found.high - found.value == pytest.approx(3.182446 * math.sqrt(5 / 12), rel=1e-6)
    assert found.value - found.low == pytest.approx(found.high - found.value)
    assert mean([7.0]) is not None and mean([7.0]).facts() == {"value": 7.0, "low": 7.0, "high": 7.0, "n": 1}  # type: ignore[union-attr]


def test_a_half_right_answer_counts_as_half():
    assert wilson(2.5, 5).value == 0.5
    assert wilson(2, 5).low < wilson(2.5, 5).low < wilson(3, 5).low


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(case: tuple[int, int]) -> None:
    count, n = case
    expected = stats.binomtest(count, n).proportion_ci(0.95, method="wilson")
    found = wilson(count, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


VALUES = st.lists(st.integers(-1000, 1000).map(lambda tenths: tenths / 10), min_size=2, max_size=60)


@given(VALUES.filter(lambda values: len(set(values)) > 1))
def test_means_have_scipys_intervals(values: list[float]) -> None:
    expected = stats.t.interval(0.95, len(values) - 1, float(np.mean(values)), float(stats.sem(values)))
    found = mean(values)
    assert found is not None and found.n == len(values)
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("n", "point"), [(2, 12.706), (16, 2.131), (17, 2.120), (31, 2.042), (121, 1.980)])
def test_few_cases_have_students_interval_whatever_their_number(n: int, point: float) -> None:
    values = [float(number % 2) for number in range(n)]
    found = mean(values)
    assert found is not None
    half = point * stats.sem(values)
    assert found.high - found.value == pytest.approx(half, rel=3e-4)


def test_the_interval_covers_the_truth_as_often_as_it_says_for_few_cases_too() -> None:
    generator = np.random.default_rng(0)
    for n in (2, 3, 6):
        found = [mean(list(row)) for row in generator.normal(size=(4000, n))]
        covered = sum(each is not None and each.low <= 0 <= each.high for each in found) / len(found)
        assert covered == pytest.approx(0.95, abs=0.015), n


def test_a_mean_of_one_case_has_no_interval() -> None:
    found = mean([2.0])
    assert found is not None and not found.has_interval
    assert found.facts() == {"value": 2.0, "low": 2.0, "high": 2.0, "n": 1}
    assert interval(found.facts()) == signed_interval(found.facts()) == "one case"
    assert interval(wilson(1, 1).facts()) == "20.7-100.0", "a share of one case has one"


def test_intervals_load_scipy_only_when_it_is_asked() -> None:
    script = (
        "import sys, solon.cli.main, solon.stats.intervals as found; found.wilson(1, 2), found.mean([1.0]);"
        "assert not {'scipy', 'numpy'} & set(sys.modules), 'loaded'; found.mean([1.0, 2.0]);"
        "assert 'scipy' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0.0"), (0.034, "3.4"), (0.5, "50.0"), (0.9375, "93.8"), (0.945, "94.5"), (1.0, "100.0")]
)
def test_every_share_is_told_with_one_decimal_wherever_it_stands(value: float, shown: str) -> None:
    assert per_cent(value) == shown
    assert percent(value) == f"{shown} %"


def test_the_ends_of_an_interval_have_the_decimals_of_its_share() -> None:
    assert interval(wilson(7, 8).facts()) == "52.9-97.8"


def test_probabilities_are_as_fine_as_shares_and_scores_have_a_sign() -> None:
    assert (percent(0.9375), probability(0.9375)) == ("93.8 %", "0.938")
    assert signed(1.316) == "+1.32"
    assert signed_interval({"low": -0.5, "high": 0.004}) == "-0.50 to +0.00"
