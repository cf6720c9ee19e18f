"""What a stage notes in its manifest, typed: the stage writes these classes, and whoever reads facts reads attributes.

A figure is a `Share` or a `Mean`, which JSON holds as `{"value", "low", "high", "n"}`. A figure over no cases is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from solon.runs.records import from_record, to_record
from solon.stats.intervals import Mean, Share

F = TypeVar("F")


def facts_record(facts: object) -> dict[str, Any]:
    """Facts as a manifest holds them."""
    return to_record(facts)


def read_facts(facts: type[F], found: Mapping[str, Any], place: str = "") -> F:
    """The facts of a manifest; raises RunError, naming `place`, when one of them is missing or of another form."""
    return from_record(facts, found, place)


def _without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    """A record without the named values where they are None."""
    return {name: value for name, value in record.items() if value is not None or name not in names}


# 06-ai-feedback -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """What labels look like, over all of them or over those of one principle (`solon.feedback.label_quality`)."""

    pairs: int
    orders_agree: Share | None
    position_bias: Mean | None
    undecided: Share | None
    confidence: Mean | None
    a_wins: Share | None
    length_gap: Mean | None
    longer_preferred: Share | None


@dataclass(frozen=True, slots=True)
class LabelQualityFacts(LabelFigures):
    """The figures of all labels, those of what was written, and those of each principle."""

    refusals: Share | None
    attempts: Mapping[str, int]
    attempts_preferred: Share | None
    by_principle: Mapping[str, LabelFigures]


@dataclass(frozen=True, slots=True)
class AxisFacts:
    """The labels of one axis: its weight, the share undecided, and how sure the others are."""

    weight: float
    undecided: float
    mean_p_chosen: float | None
    agrees_with_the_pair: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeFacts:
    """One judge: how its letters were read, what was measured of it before, and how much of its answers are letters."""

    name: str
    read: str
    letter_form: str
    judge_check: Mapping[str, Any] | None = None
    letter_mass: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackFacts:
    """Judges and labels; `judge_check` is that of the only judge."""

    judge: str
    read: str
    judges: tuple[JudgeFacts, ...]
    clamp: tuple[float, ...] | None
    samples: int
    prefix_variants: int
    pairs: int
    undecided_because: Mapping[str, int]
    principles: Mapping[str, int]
    quality: LabelQualityFacts
    axes: Mapping[str, AxisFacts] | None = None
    judge_check: Mapping[str, Any] | None = None

    def record(self) -> dict[str, Any]:
        """As the manifest holds it: what was not asked for is absent."""
        record = to_record(self)
        record["judges"] = [_without(each, "judge_check") for each in record["judges"]]
        return _without(record, "axes", "judge_check")


# 04-sl-cai, 08-rl-cai -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SftFacts:
    """What SL-CAI was trained on, and the loss that it came to."""

    revisions_by_step: Mapping[str, int]
    helpful_ratio: float
    examples: Mapping[str, int]
    held_out_examples: int
    too_long: int
    tokens_with_loss: int
    held_out_loss_before: float | None
    steps: int
    loss: float
    held_out_loss: float | None
    training_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoFacts:
    """What the policy learned from by DPO, and how it orders pairs that it did not learn from."""

    algorithm: str
    steps: int
    loss: float
    held_out_loss_before: float | None
    held_out_loss: float | None
    held_out_accuracy: float | None
    human: int
    human_skipped: Mapping[str, int]
    examples: int
    held_out_examples: int
    too_long: int
    empty: int
    labels: Mapping[str, int]
    training_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RlFacts:
    """How reinforcement learning went: its prompts, why it stopped, which policy it kept, and its last figures."""

    prompts: Mapping[str, int]
    too_long: int
    algorithm: str
    steps: int
    steps_asked: int
    stopped_because: str | None = None
    kept_step: int
    warning: str | None = None
    signs: tuple[str, ...] = ()
    snapshots: tuple[int, ...] | None = None
    centre: float
    seconds: Mapping[str, float]
    score: float | None = None
    held_out_score: float | None = None
    kl: float | None = None
    length: float | None = None
    unfinished: float | None = None
    empty: float | None = None

    def record(self) -> dict[str, Any]:
        """As the manifest holds it: a warning that there is none of, and snapshots that were not kept, are absent."""
        return _without(to_record(self), "warning", "snapshots")


# 07-preference-model --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceFacts:
    """The preference model on held-out prompts, by who compared, and what it was trained on."""

    accuracy: Mapping[str, float]
    brier: Mapping[str, float]
    ece: Mapping[str, float]
    centre: float
    centre_from: str
    examples: Mapping[str, int]
    held_out_examples: Mapping[str, int]
    too_long: int
    empty: int
    labels: Mapping[str, int]
    human_skipped: Mapping[str, int]
    golden_scores: int
    steps: int
    held_out_loss: float | None
    training_seconds: float


# Evaluations (`solon eval`) -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """The answers of one bin: their mean confidence, and how many of them were right."""

    p: float
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """Confidence against the truth; without an answered question there is neither error nor score."""

    ece: float | None
    brier: float | None
    bins: tuple[CalibrationBin, ...] = ()


@dataclass(frozen=True, slots=True)
class Majority:
    """The share of questions whose right option has the file's most frequent letter, and that letter."""

    value: float
    low: float
    high: float
    n: int
    letter: str

    def facts(self) -> dict[str, Any]:
        """The share by itself."""
        return Share(self.value, self.low, self.high, self.n).facts()


@dataclass(frozen=True, slots=True)
class Baselines:
    """What no model is needed for; `longer` is None where the options are no replies."""

    chance: float
    majority: Majority
    longer: Share | None


@dataclass(frozen=True, slots=True)
class OptionOrders:
    """What the order of options does: accuracy as the file has them, in a single order, and how often all agree."""

    as_given: Share
    one_order: float
    lowest: float
    highest: float
    same_option: Share


@dataclass(frozen=True, slots=True)
class LetterPull:
    """The letters' own pull, and how much probability all letters together get."""

    prior: Mapping[str, float]
    mass: Mean | None


@dataclass(frozen=True, slots=True)
class FirstSample:
    """What the first chain of thought by itself would come to."""

    accuracy: Share
    calibration: Calibration
    undecided: int


@dataclass(frozen=True, slots=True)
class AnswerFigures:
    """Every figure of the answers of one evaluation."""

    questions: int
    undecided: int
    undecided_because: Mapping[str, int]
    untold_samples: int
    accuracy: Share
    answered: Share | None
    calibration: Calibration
    baselines: Baselines
    orders: OptionOrders | None
    letters: LetterPull | None
    first_sample: FirstSample | None
    by_label: Mapping[str, Share] | None


@dataclass(frozen=True, slots=True)
class EvaluationSetup:
    """What was asked in one evaluation, of which model, in which form."""

    evaluation: str
    kind: str
    options: int
    model: str
    form: str
    order: str
    samples: int
    examples: int
    bad_rows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EvaluationFacts:
    """One evaluation in one form; JSON holds setup and figures side by side."""

    setup: EvaluationSetup
    figures: AnswerFigures

    def record(self) -> dict[str, Any]:
        """As the manifest holds it."""
        return {**to_record(self.setup), **to_record(self.figures)}

    @classmethod
    def read(cls, found: Mapping[str, Any], place: str = "") -> EvaluationFacts:
        """The facts of a manifest; raises RunError as `read_facts` does."""
        return cls(read_facts(EvaluationSetup, found, place), read_facts(AnswerFigures, found, place))
