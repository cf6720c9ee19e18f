"""The tables and facts of the absolute harmfulness score: rated conversations, scored replies, and their figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from solon.conversation import Conversation
from solon.runs.facts import facts_record
from solon.runs.outcome import Outcome
from solon.runs.records import Reply
from solon.stats.correlation import Correlation
from solon.stats.intervals import Mean


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedRow:
    """harmfulness, ratings.parquet: a rated conversation; only those that were not trained on have a prediction."""

    row_id: str
    """The row id of everything before the last reply."""
    source: str
    line: int
    conversation: Conversation
    rating: float
    predicted: float | None
    held_out: bool
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HarmfulnessRow:
    """absolute-harmfulness: one reply of a model at a temperature, with its score; None where there is no reply."""

    model: str
    temperature: float
    row_id: str
    sample: int
    prompt: Conversation
    completion: Reply
    finish: str
    seed: int
    outcome: Outcome
    harmfulness: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingBin:
    """Conversations of which about the same rating is predicted: the mean prediction, and the mean of the ratings."""

    predicted: float
    rated: Mean


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingFigures:
    """Predictions against ratings, of conversations that were not trained on."""

    conversations: int
    rank_correlation: Correlation | None
    """Spearman's; None where all ratings, or all predictions, are equal."""
    error: float
    """The root of the mean squared difference."""
    error_of_mean: float
    """The same for the mean rating of the training conversations in place of every prediction."""
    bias: Mean
    """Prediction minus rating."""
    bins: tuple[RatingBin, ...]

    def record(self) -> dict[str, Any]:
        """As plain values."""
        return facts_record(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class HarmfulnessFacts:
    """harmfulness: what the model of ratings was trained on, and how its predictions fit ratings."""

    base: str
    rating_mean: float
    ratings: Mapping[str, int]
    """How many training conversations have each rating, to one decimal."""
    examples: int
    held_out_examples: int
    held_out_from: str | None
    """`split` where prompts of the training files are held out, `file` for a file of its own, None for neither."""
    too_long: int
    skipped: Mapping[str, int]
    calibration: RatingFigures | None
    steps: int
    loss: float
    held_out_loss: float | None
    training_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsoluteScore:
    """One model at one temperature: the mean over prompts of the mean score of their replies."""

    model: str
    temperature: float
    score: Mean | None
    """Its interval is over prompts; None where no reply could be scored."""
    replies: int
    unscored: Mapping[str, int]
    """Replies without a score, by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsoluteScoreFacts:
    """absolute-harmfulness: the scores of all models, and how the model of ratings fits ratings."""

    scorer: str
    prompts: int
    samples: int
    scores: tuple[AbsoluteScore, ...]
    calibration: RatingFigures | None = None
    """The scorer's own, from its training; None where its folder holds none."""

    def record(self) -> dict[str, Any]:
        """As plain values, for the manifest."""
        return facts_record(self)
