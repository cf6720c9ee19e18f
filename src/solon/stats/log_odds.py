"""Arithmetic on log-odds and log-probabilities, without overflow and without rounding small probabilities to 0.

Sums use `math.fsum`, which rounds once: the order of the terms does not matter, so a tie between two options stays a
tie.
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
    """The logarithm of the sum of exp(x); raises ValueError for an empty sequence."""
    most = max(logs)
    return most + math.log(math.fsum(math.exp(each - most) for each in logs))


def log_softmax(logs: Sequence[float]) -> list[float]:
    """The logarithms of the softmax."""
    total = log_sum_exp(logs)
    return [each - total for each in logs]
