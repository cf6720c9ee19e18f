"""How well score differences agree with labels: accuracy, Brier score, expected calibration error.

The model's probability that the first reply of a pair is better is sigmoid(d); the label is a probability p of the same
event. Swapping the two replies of a pair changes none of the measures, so it does not matter which of them a table
calls chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from solon.stats.calibration import brier_score, expected_calibration_error
from solon.stats.log_odds import sigmoid


@dataclass(frozen=True, slots=True)
class Agreement:
    """Measures over pairs; `accuracy` is None when no label prefers either reply."""

    accuracy: float | None
    """Share ordered as labelled, among pairs with a label other than one half; equal scores count half."""
    brier: float
    """Mean of (sigmoid(d) - p)^2."""
    decided: int
    """How many pairs the accuracy is over."""
    ece: float
    """Expected calibration error, in [0, 1]: of ten bins of confidence in the reply with the higher score.

    It is compared with the labels' mass on that reply; a difference of exactly zero prefers neither, so that its label
    counts half for each.
    """


def agreement(differences_B: Tensor, labels_B: Tensor) -> Agreement:
    """Measures of score differences against soft labels, both of shape (B); raises ValueError when B is 0."""
    pairs = list(zip(differences_B.double().tolist(), labels_B.double().tolist(), strict=True))
    right = [0.5 if difference == 0 else float((difference > 0) == (p > 0.5)) for difference, p in pairs if p != 0.5]
    labels = [p for _, p in pairs]
    on_better = [0.5 if difference == 0 else p if difference > 0 else 1 - p for difference, p in pairs]
    brier = brier_score([sigmoid(difference) for difference, _ in pairs], labels)
    ece = expected_calibration_error([sigmoid(abs(difference)) for difference, _ in pairs], on_better, lowest=0.5)
    if brier is None or ece is None:
        raise ValueError("no pairs to measure")
    return Agreement(sum(right) / len(right) if right else None, brier, len(right), ece)
