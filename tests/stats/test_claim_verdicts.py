"""Verdicts on claims follow from intervals alone; each rule has a case on both sides of its bound."""

from __future__ import annotations

import pytest

from solon.stats.claim_verdicts import (
    RULES,
    ClaimVerdict,
    Difference,
    Expected,
    difference_of_shares,
    paired_shares,
    percentile_interval,
    together,
    verdict_of,
)
from solon.stats.intervals import wilson

HOLDS, FAILS, UNCLEAR = ClaimVerdict.HOLDS, ClaimVerdict.FAILS, ClaimVerdict.UNCLEAR


@pytest.mark.parametrize(
    ("expected", "low", "high", "verdict"),
    [
        (Expected.HIGHER, 0.1, 0.3, HOLDS),
        (Expected.HIGHER, -0.1, 0.3, UNCLEAR),
        (Expected.HIGHER, 0.0, 0.3, UNCLEAR),
        (Expected.HIGHER, -0.3, -0.1, FAILS),
        (Expected.HIGHER, 0.0, 0.0, FAILS),
        (Expected.LOWER, -0.3, -0.1, HOLDS),
        (Expected.LOWER, -0.3, 0.1, UNCLEAR),
        (Expected.LOWER, 0.1, 0.3, FAILS),
        (Expected.ALIKE, -0.15, 0.2, HOLDS),
        (Expected.ALIKE, -0.1, 0.3, UNCLEAR),
        (Expected.ALIKE, 0.21, 0.3, FAILS),
        (Expected.ALIKE, -0.3, -0.21, FAILS),
        (Expected.NOT_LOWER, -0.2, 9.0, HOLDS),
        (Expected.NOT_LOWER, -0.3, 9.0, UNCLEAR),
        (Expected.NOT_LOWER, -0.4, -0.3, FAILS),
        (Expected.NOT_HIGHER, 0.0, 0.2, HOLDS),
        (Expected.NOT_HIGHER, 0.1, 0.3, UNCLEAR),
        (Expected.NOT_HIGHER, 0.21, 0.3, FAILS),
    ],
)
def test_a_check_looks_only_at_the_interval(expected: Expected, low: float, high: float, verdict: ClaimVerdict) -> None:
    assert verdict_of(expected, Difference((low + high) / 2, low, high), margin=0.2) is verdict


def test_higher_and_lower_mirror_each_other() -> None:
    for low, high in ((0.1, 0.2), (-0.1, 0.2), (-0.2, -0.1), (0.0, 0.0), (0.0, 1.0)):
        mirrored = verdict_of(Expected.LOWER, Difference(0, -high, -low))
        assert verdict_of(Expected.HIGHER, Difference(0, low, high)) is mirrored


def test_every_expectation_has_a_rule_in_words() -> None:
    assert set(RULES) == set(Expected)


def test_a_claim_holds_only_with_all_its_checks() -> None:
    assert together([HOLDS, HOLDS]) is HOLDS
    assert together([HOLDS, UNCLEAR]) is UNCLEAR
    assert together([HOLDS, UNCLEAR, FAILS]) is FAILS
    assert together([]) is ClaimVerdict.NOT_SHOWN


def test_the_difference_of_shares_is_newcombes() -> None:
    # Newcombe 1998, table II: 56/70 against 48/80, method 10.
    found = difference_of_shares(wilson(56, 70), wilson(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_the_percentile_interval_keeps_the_middle() -> None:
    found = percentile_interval(0.5, [number / 1000 for number in range(1001)])
    assert (found.value, found.low, found.high) == (0.5, 0.025, 0.975)


def test_paired_shares_are_the_first_minus_the_second() -> None:
    found = paired_shares([(True, False)] * 30 + [(True, True)] * 20 + [(False, False)] * 50)
    assert found is not None and found.value == pytest.approx(0.3) and 0 < found.low < 0.3 < found.high
    same = paired_shares([(True, True)] * 20)
    # No pair differs, and still the interval has a width.
    assert same is not None and same.value == 0 and same.low < 0 < same.high
    assert paired_shares([]) is None
