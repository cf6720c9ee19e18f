"""Paired differences against published examples, exact tests, and the truth in simulations."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.stats.paired import exact_mcnemar, paired_difference

PAIRS = [(True, True), (True, False), (False, True), (False, False)]


def pairs_of(both: int, first_only: int, second_only: int, neither: int) -> list[tuple[bool, bool]]:
    counts = zip(PAIRS, (both, first_only, second_only, neither), strict=True)
    return [pair for pair, count in counts for _ in range(count)]


def test_a_published_example() -> None:
    """Airway hyper-responsiveness before and after (Bentur et al. 2009), a worked example of Fagerland et al. 2017."""
    found = paired_difference(pairs_of(1, 1, 7, 12))
    assert found is not None
    assert (found.value, found.n) == (pytest.approx(6 / 21), 21)
    assert (found.low, found.high) == (pytest.approx(0.026, abs=5e-4), pytest.approx(0.507, abs=5e-4))
    assert found.p_value == pytest.approx(0.0703, abs=5e-5)


def test_mcnemar_is_the_sign_test() -> None:
    assert exact_mcnemar(0, 0) == 1.0
    assert exact_mcnemar(0, 5) == pytest.approx(2 / 2**5)
    assert exact_mcnemar(3, 3) == 1.0


def test_no_cases_and_no_difference() -> None:
    assert paired_difference([]) is None
    same = paired_difference(pairs_of(10, 0, 0, 10))
    assert same is not None
    assert same.value == 0 and same.p_value == 1
    assert same.low < 0 < same.high, "twenty equal verdicts do not prove that the two models are the same"


@given(*[st.integers(0, 30)] * 4)
def test_the_interval_holds_the_difference_and_swaps_with_the_models(a: int, b: int, c: int, d: int) -> None:
    found, other = paired_difference(pairs_of(a, b, c, d)), paired_difference(pairs_of(a, c, b, d))
    if found is None or other is None:
        assert a + b + c + d == 0
        return
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert (other.value, other.low, other.high) == pytest.approx((-found.value, -found.high, -found.low))
    assert other.p_value == pytest.approx(found.p_value)


def test_the_interval_holds_the_truth_about_95_times_in_100() -> None:
    rng, trials = random.Random(1), 1500
    for weights, n in (((0.2, 0.1, 0.05, 0.65), 40), ((0.6, 0.0, 0.1, 0.3), 30), ((0.4, 0.2, 0.2, 0.2), 100)):
        truth = weights[2] - weights[1]
        held = 0
        for _ in range(trials):
            found = paired_difference(rng.choices(PAIRS, weights, k=n))
            assert found is not None
            held += found.low <= truth <= found.high
        assert held / trials > 0.93


def test_importing_it_loads_no_scipy() -> None:
    line = "import sys, solon.stats.paired; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", line]).returncode == 0
