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
