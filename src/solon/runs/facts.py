"""The facts in the manifests, as dataclasses: a stage writes these classes, and reports read their attributes.

A figure is a `Share` or a `Mean`, in JSON `{"value", "low", "high", "n"}`. A figure over no cases is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from solon.runs.records import from_record, to_record
from solon.stats.intervals import Mean, Share

F = TypeVar("F")


def facts_record(facts: object) -> dict[str, Any]:
    """Facts as plain values, for the manifest."""
    return to_record(facts)


def read_facts(facts: type[F], found: Mapping[str, Any], place: str = "") -> F:
    """The facts in a manifest; raises RunError, naming `place`, when one of them is missing or malformed."""
    return from_record(facts, found, place)


def _without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    """The record without those of the named values that are None."""
    return {name: value for name, value in record.items() if value is not None or name not in names}


# 06-ai-feedback -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """Figures over all labels, or over the labels of one principle (`solon.feedback.label_quality`)."""

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
    """The figures of all labels, figures of the replies' texts, and the figures of each principle."""

    refusals: Share | None
    attempts: Mapping[str, int]
    attempts_preferred: Share | None
    by_principle: Mapping[str, LabelFigures]


@dataclass(frozen=True, slots=True)
class AxisFacts:
    """The labels of one axis: its weight, the share of undecided pairs, and the mean confidence of the others."""

    weight: float
    undecided: float
    mean_p_chosen: float | None
    agrees_with_the_pair: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeFacts:
    """One judge: how its letters are read, its judge check, and the probability that it gives to the letters."""

    name: str
    read: str
    letter_form: str
    judge_check: Mapping[str, Any] | None = None
    letter_mass: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackFacts:
    """Judges and labels; `judge_check` is set when there is a single judge."""

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
        """The facts for the manifest, without axes and judge check where there are none."""
        record = to_record(self)
        record["judges"] = [_without(each, "judge_check") for each in record["judges"]]
        return _without(record, "axes", "judge_check")


# 04-sl-cai, 08-rl-cai -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SftFacts:
    """The training data of SL-CAI, and its losses."""

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
    padding: float | None = None
    """The share of padding in the tokens of an epoch's passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoFacts:
    """The training data of DPO, and its accuracy on held-out pairs."""

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
    padding: float | None = None
    """The share of padding in the tokens of an epoch's passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RlFacts:
    """The course of reinforcement learning: prompts, why it stopped, which policy it kept, and the last metrics."""

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
        """The facts for the manifest, without warning and snapshots where there are none."""
        return _without(to_record(self), "warning", "snapshots")


# 07-preference-model --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceFacts:
    """The preference model's accuracy on held-out prompts by source of comparisons, and its training data."""

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
    near_even: int = 0
    """Labels that were left out because they are nearer to one half than `preference.least_margin`."""
    padding: float | None = None
    """The share of padding in the tokens of an epoch's passes."""
    held_out_decided: Mapping[str, int] | None = None
    """The held-out pairs that each accuracy is over; None in a run of an earlier version of Solon."""


# Evaluations (`solon eval`) -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """The answers in one bin: their mean confidence, and the share that is right."""

    p: float
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration of the answers; error and score are None when no question was answered."""

    ece: float | None
    brier: float | None
    bins: tuple[CalibrationBin, ...] = ()


@dataclass(frozen=True, slots=True)
class Majority:
    """The most frequent right letter of the file, and the share of questions that it answers rightly."""

    value: float
    low: float
    high: float
    n: int
    letter: str

    def facts(self) -> dict[str, Any]:
        """The share, without the letter."""
        return Share(self.value, self.low, self.high, self.n).facts()


@dataclass(frozen=True, slots=True)
class Baselines:
    """The accuracy of answers without a model; `longer` is None where the options are not replies."""

    chance: float
    majority: Majority
    longer: Share | None


@dataclass(frozen=True, slots=True)
class OptionOrders:
    """The effect of the options' order: accuracy in the file's order and in single orders, and how often all agree."""

    as_given: Share
    one_order: float
    lowest: float
    highest: float
    same_option: Share


@dataclass(frozen=True, slots=True)
class LetterPull:
    """The model's bias for each letter, and the probability that all letters get together."""

    prior: Mapping[str, float]
    mass: Mean | None


@dataclass(frozen=True, slots=True)
class FirstSample:
    """The result if only the first chain of thought counted."""

    accuracy: Share
    calibration: Calibration
    undecided: int


@dataclass(frozen=True, slots=True)
class AnswerFigures:
    """All figures of one evaluation."""

    questions: int
    undecided: int
    undecided_because: Mapping[str, int]
    unfinished_samples: int
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
    """The settings of one evaluation: its questions, model and form."""

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
    """One evaluation in one form; in JSON, setup and figures are one object."""

    setup: EvaluationSetup
    figures: AnswerFigures

    def record(self) -> dict[str, Any]:
        """The facts for the manifest."""
        return {**to_record(self.setup), **to_record(self.figures)}

    @classmethod
    def read(cls, found: Mapping[str, Any], place: str = "") -> EvaluationFacts:
        """The facts in a manifest; raises RunError as `read_facts` does."""
        return cls(read_facts(EvaluationSetup, found, place), read_facts(AnswerFigures, found, place))
