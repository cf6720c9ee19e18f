"""Averages of answers against sums done by hand, and the properties that each average was chosen for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.feedback.soft_labels import clamped, log_odds_of_mean, mean_probability, votes_log_odds
from solon.stats.log_odds import sigmoid

LOG_ODDS = st.floats(-30, 30)


@given(st.lists(LOG_ODDS, min_size=1, max_size=6))
def test_samples_are_averaged_in_probability(values: list[float]) -> None:
    by_hand = sum(map(sigmoid, values)) / len(values)
    assert sigmoid(log_odds_of_mean(values)) == pytest.approx(by_hand, abs=1e-12)
    assert log_odds_of_mean([-each for each in values]) == pytest.approx(-log_odds_of_mean(values), abs=1e-9)


@given(st.lists(st.tuples(LOG_ODDS, st.floats(0.1, 9)), min_size=2, max_size=5))
def test_weights_count(pairs: list[tuple[float, float]]) -> None:
    values, weights = [value for value, _ in pairs], [weight for _, weight in pairs]
    by_hand = sum(sigmoid(value) * weight for value, weight in pairs) / sum(weights)
    assert sigmoid(log_odds_of_mean(values, weights)) == pytest.approx(by_hand, abs=1e-12)
    assert mean_probability([sigmoid(value) for value in values], weights) == pytest.approx(by_hand)


@given(LOG_ODDS)
def test_one_answer_is_left_as_it_is_to_the_last_bit(value: float) -> None:
    assert log_odds_of_mean([value]) == value
    assert mean_probability([sigmoid(value)], [0.3]) == sigmoid(value)


def test_extreme_answers_stay_finite() -> None:
    assert log_odds_of_mean([900.0, 1000.0]) == pytest.approx(900 + math.log(2), abs=1e-9)
    assert log_odds_of_mean([900.0, -900.0]) == pytest.approx(0)
    with pytest.raises(ValueError, match="a mean needs at least one value"):
        log_odds_of_mean([])


@given(st.integers(1, 50), st.data())
def test_votes_give_finite_log_odds_that_favour_no_letter(votes: int, data: st.DataObject) -> None:
    for_it = data.draw(st.integers(0, votes))
    found = votes_log_odds(for_it, votes)
    assert sigmoid(found) == pytest.approx((for_it + 0.5) / (votes + 1))
    assert found == pytest.approx(-votes_log_odds(votes - for_it, votes))
    assert (found > 0) == (2 * for_it > votes)


def test_nobody_voting_is_no_estimate() -> None:
    for for_it, votes in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="give no estimate"):
            votes_log_odds(for_it, votes)
    assert votes_log_odds(4, 8) == 0


@given(st.floats(0, 1))
def test_clamping_keeps_within_and_is_even_handed(p: float) -> None:
    assert clamped(p, None) == p
    assert 0.4 <= clamped(p, (0.4, 0.6)) <= 0.6
    assert clamped(1 - p, (0.4, 0.6)) == pytest.approx(1 - clamped(p, (0.4, 0.6)))
    assert (clamped(p, (0.2, 0.8)) == p) == (0.2 <= p <= 0.8)
