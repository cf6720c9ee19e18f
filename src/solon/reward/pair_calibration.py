"""How well score differences agree with labels: accuracy, Brier score, expected calibration error.

A pair is judged as sigmoid(d), the probability that its first reply is the better one, and labelled with a probability
p of the same event. All three measures are unchanged when the two replies of a pair are swapped, so that it does not
matter which of them a table calls chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 10
"""Bins of equal width between a confidence of one half and of one."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Measures over pairs; `accuracy` is None when no label prefers either reply."""

    accuracy: float | None
    """Share ordered as labelled, among the pairs whose label is not one half."""
    brier: float
    """Mean of (sigmoid(d) - p)^2."""
    ece: float
    """Expected calibration error (Naeini et al. 2015): mean over bins of |confidence - share labelled so|."""


def agreement(differences_B: Tensor, labels_B: Tensor) -> Agreement:
    """Measures of score differences against soft labels, both of shape (B); raises ValueError when B is 0."""
    if not len(labels_B):
        raise ValueError("no pairs to measure")
    differences_B, labels_B = differences_B.double(), labels_B.double()
    decided_B = labels_B != 0.5
    right_B = ((differences_B > 0) == (labels_B > 0.5))[decided_B]
    brier = (differences_B.sigmoid() - labels_B).square().mean()
    return Agreement(
        accuracy=float(right_B.double().mean()) if len(right_B) else None,
        brier=float(brier),
        ece=calibration_error(differences_B, labels_B),
    )


def calibration_error(differences_B: Tensor, labels_B: Tensor) -> float:
    """The expected calibration error of sigmoid(d) in ten equal bins of confidence, in [0, 1].

    Confidence is that of the reply with the higher score; what it is compared with is the labels' mass on that reply.
    """
    confidence_B = differences_B.abs().sigmoid()
    # A difference of exactly zero prefers neither reply, so its label counts half for each.
    labelled_B = torch.where(differences_B > 0, labels_B, 1 - labels_B).where(differences_B != 0, 0.5)
    bins_B = ((confidence_B - 0.5) * 2 * BINS).long().clamp(max=BINS - 1)
    gaps = torch.zeros(BINS, dtype=confidence_B.dtype).index_add(0, bins_B, confidence_B - labelled_B)
    return float(gaps.abs().sum() / len(labels_B))
