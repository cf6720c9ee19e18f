"""Arithmetic on log-odds and log-probabilities that neither overflows nor rounds small probabilities to nothing.

Sums are taken with `math.fsum`, which rounds once: equal terms in another order give equal sums, so that a tie between
two options stays a tie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def log_sigmoid(x: float) -> float:
    """The logarithm of `sigmoid(x)`."""
    return min(x, 0.0) - math.log1p(math.exp(-abs(x)))


def log_sum_exp(logs: Sequence[float]) -> float:
    """The logarithm of the sum of the numbers with these logarithms; raises ValueError for none."""
    most = max(logs)
    return most + math.log(math.fsum(math.exp(each - most) for each in logs))


def log_softmax(logs: Sequence[float]) -> list[float]:
    """The logarithms of the probabilities that are in proportion to the numbers with these logarithms."""
    total = log_sum_exp(logs)
    return [each - total for each in logs]
