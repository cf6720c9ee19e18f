"""Measures of a preference model on held-out pairs, and the centre of its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from solon.reward.conversation_scorer import ConversationScorer
from solon.reward.pair_calibration import agreement
from solon.training.batches import PairExample


@dataclass(frozen=True, slots=True)
class HeldOutMeasures:
    """Measures on held-out pairs by who compared; one without cases is left out."""

    accuracy: Mapping[str, float]
    brier: Mapping[str, float]
    ece: Mapping[str, float]
    decided: Mapping[str, int]
    """How many pairs the accuracy is over: those of which the label prefers one reply."""


def held_out_measures(scorer: ConversationScorer, pairs: Sequence[PairExample]) -> HeldOutMeasures:
    """Accuracy, Brier score and expected calibration error by source."""
    differences_B = _scores(scorer, pairs, "chosen") - _scores(scorer, pairs, "rejected")
    labels_B = torch.tensor([pair.p_chosen for pair in pairs])
    accuracy: dict[str, float] = {}
    brier: dict[str, float] = {}
    ece: dict[str, float] = {}
    decided: dict[str, int] = {}
    for source in sorted({pair.source for pair in pairs}):
        of_B = torch.tensor([pair.source == source for pair in pairs])
        measured = agreement(differences_B[of_B], labels_B[of_B])
        if measured.accuracy is not None:
            accuracy[source], decided[source] = measured.accuracy, measured.decided
        brier[source], ece[source] = measured.brier, measured.ece
    return HeldOutMeasures(accuracy, brier, ece, decided)


def _scores(scorer: ConversationScorer, pairs: Sequence[PairExample], side: str) -> Tensor:
    return scorer.score_tokens([getattr(pair, side) for pair in pairs])


def centre_of(scorer: ConversationScorer, pairs: Sequence[PairExample]) -> float:
    """The mean score of all replies."""
    scores_B = torch.cat([_scores(scorer, pairs, side) for side in ("chosen", "rejected")])
    return float(scores_B.double().mean())
