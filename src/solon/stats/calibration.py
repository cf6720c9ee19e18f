"""Calibration of predicted probabilities: reliability bins, expected calibration error, Brier score.

A prediction is a probability. The truth is a number in [0, 1]: 0 or 1 where it is known, and a probability where only
that is known. A figure over no predictions is None. Bins have equal width (Naeini et al. 2015); `lowest` is 0.5 where a
prediction is the confidence in the more probable of two options.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from solon.stats.intervals import Share, wilson

BINS = 10


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions of one bin: their mean, and the share that came true."""

    predicted: float
    true: Share

    def facts(self) -> dict[str, Any]:
        """`p`, and the share's value, low, high and n, as manifests hold them."""
        return {"p": self.predicted, **self.true.facts()}


def reliability_bins(
    predicted: Sequence[float], true: Sequence[float], bins: int = BINS, lowest: float = 0.0
) -> list[ReliabilityBin]:
    """The bins that hold any prediction, in order; raises ValueError when the two differ in length."""
    filled: dict[int, list[tuple[float, float]]] = {}
    for p, outcome in zip(predicted, true, strict=True):
        filled.setdefault(min(int((p - lowest) / (1 - lowest) * bins), bins - 1), []).append((p, outcome))
    return [
        ReliabilityBin(
            math.fsum(p for p, _ in members) / len(members),
            wilson(math.fsum(outcome for _, outcome in members), len(members)),
        )
        for _, members in sorted(filled.items())
    ]


def expected_calibration_error(
    predicted: Sequence[float], true: Sequence[float], bins: int = BINS, lowest: float = 0.0
) -> float | None:
    """The mean over bins, weighted by their predictions, of |mean prediction - share that came true|."""
    found = reliability_bins(predicted, true, bins, lowest)
    if not found:
        return None
    return math.fsum(abs(each.predicted - each.true.value) * each.true.n for each in found) / len(predicted)


def brier_score(predicted: Sequence[float], true: Sequence[float]) -> float | None:
    """The mean of (prediction - truth)^2 (Brier 1950): 0.25 for predictions of one half."""
    squares = [(p - outcome) ** 2 for p, outcome in zip(predicted, true, strict=True)]
    return math.fsum(squares) / len(squares) if squares else None
