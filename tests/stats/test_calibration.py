"""Calibration worked out by hand, with truths that are known and truths that are probabilities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.stats.calibration import brier_score, expected_calibration_error, reliability_bins

shares = st.floats(0, 1)


def test_bins_by_hand() -> None:
    bins = reliability_bins([0.05, 0.07, 0.95, 1.0], [0, 1, 1, 1])
    assert [(each.true.value, each.true.n) for each in bins] == [(0.5, 2), (1.0, 2)]
    assert [each.predicted for each in bins] == pytest.approx([0.06, 0.975])
    assert bins[0].facts() == {"p": bins[0].predicted, **bins[0].true.facts()}


def test_the_error_is_weighted_by_predictions() -> None:
    # Two predictions of 0.9, half of them true; one of 0.2 that is not.
    assert expected_calibration_error([0.9, 0.9, 0.2], [1, 0, 0]) == pytest.approx((2 * 0.4 + 0.2) / 3)
    assert brier_score([0.9, 0.9, 0.2], [1, 0, 0]) == pytest.approx((0.01 + 0.81 + 0.04) / 3)


def test_bins_of_confidence_begin_at_one_half() -> None:
    assert len(reliability_bins([0.51, 0.57], [1, 1])) == 1
    assert len(reliability_bins([0.51, 0.57], [1, 1], lowest=0.5)) == 2


def test_no_predictions_have_no_figures() -> None:
    assert reliability_bins([], []) == []
    assert expected_calibration_error([], []) is None and brier_score([], []) is None
    with pytest.raises(ValueError, match="zip"):
        brier_score([0.5], [])


@given(st.lists(st.tuples(shares, shares), min_size=1, max_size=30))
def test_figures_stay_within_their_bounds(pairs: list[tuple[float, float]]) -> None:
    predicted, true = [p for p, _ in pairs], [t for _, t in pairs]
    error, brier = expected_calibration_error(predicted, true), brier_score(predicted, true)
    assert error is not None and brier is not None
    assert 0 <= error <= 1 and 0 <= brier <= 1
    assert sum(each.true.n for each in reliability_bins(predicted, true)) == len(pairs)
    assert brier_score(true, true) == 0 and expected_calibration_error(true, true) == pytest.approx(0, abs=1e-12)
