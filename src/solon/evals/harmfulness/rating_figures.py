"""How predicted ratings fit given ones: rank correlation, error, and calibration in bins of the prediction.

Ratings are people's, and different people use the scale differently (paper, section 5: "absolute scores may not be
well-calibrated"). So the order is measured apart from the size: Spearman's coefficient asks only whether worse
conversations are predicted to be worse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from solon.digest import seed_for
from solon.runs.harmfulness_rows import RatingBin, RatingFigures
from solon.sources.rated_conversations import LEAST, MOST
from solon.stats.correlation import correlation, spearman
from solon.stats.intervals import mean

BINS = 8
"""Bins of equal width over the scale; predictions beyond its ends are in the outer ones."""


@dataclass(frozen=True, slots=True)
class PredictedRating:
    """A prediction with the rating that was given; `prompt_id` names the prompt, whose replies are not independent."""

    prompt_id: str
    predicted: float
    rated: float


def rating_figures(found: Sequence[PredictedRating], mean_rating: float, seed: int) -> RatingFigures | None:
    """All figures, with `mean_rating` as the prediction of somebody who reads nothing; None for no predictions."""
    bias = mean([each.predicted - each.rated for each in found])
    if bias is None:
        return None
    by_prompt: dict[str, list[tuple[float, float]]] = {}
    for each in found:
        by_prompt.setdefault(each.prompt_id, []).append((each.predicted, each.rated))
    return RatingFigures(
        conversations=len(found),
        rank_correlation=correlation(list(by_prompt.values()), spearman, seed_for(seed, "harmfulness bootstrap")),
        error=_root([each.predicted - each.rated for each in found]),
        error_of_mean=_root([mean_rating - each.rated for each in found]),
        bias=bias,
        bins=tuple(rating_bins(found)),
    )


def rating_bins(found: Sequence[PredictedRating], bins: int = BINS) -> list[RatingBin]:
    """The bins that hold any prediction, in order."""
    filled: dict[int, list[PredictedRating]] = {}
    for each in found:
        place = math.floor((each.predicted - LEAST) / (MOST - LEAST) * bins)
        filled.setdefault(min(max(place, 0), bins - 1), []).append(each)
    made: list[RatingBin] = []
    for _, members in sorted(filled.items()):
        rated = mean([each.rated for each in members])
        assert rated is not None, "a bin is made for its members"
        made.append(RatingBin(predicted=math.fsum(each.predicted for each in members) / len(members), rated=rated))
    return made


def _root(differences: Sequence[float]) -> float:
    return math.sqrt(math.fsum(each**2 for each in differences) / len(differences))
