"""Arithmetic on logarithms against scipy's, and where plain formulas overflow."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from solon.stats.log_odds import log_sigmoid, log_softmax, log_sum_exp, sigmoid

numbers = st.floats(-700, 700)


@given(numbers)
def test_sigmoid_and_its_logarithm(x: float) -> None:
    assert sigmoid(x) == pytest.approx(special.expit(x), rel=1e-12)
    assert log_sigmoid(x) == pytest.approx(special.log_expit(x), rel=1e-12, abs=1e-300)


@given(st.lists(numbers, min_size=1, max_size=12))
def test_log_sum_exp_and_softmax(logs: list[float]) -> None:
    assert log_sum_exp(logs) == pytest.approx(special.logsumexp(logs), rel=1e-12, abs=1e-12)
    assert math.fsum(map(math.exp, log_softmax(logs))) == pytest.approx(1)
    assert log_sum_exp(logs) == log_sum_exp(logs[::-1]), "the order of the terms changes no bit"


def test_nothing_overflows() -> None:
    assert (sigmoid(1e6), sigmoid(-1e6)) == (1.0, 0.0)
    assert (log_sigmoid(1e6), log_sigmoid(-1e6)) == (0.0, -1e6)
    assert log_sum_exp([1e6, 1e6]) == pytest.approx(1e6 + math.log(2))
