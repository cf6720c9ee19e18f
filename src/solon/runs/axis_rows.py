"""The tables and facts of preference models along several axes: their score differences, and how these go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from solon.conversation import Conversation
from solon.runs.facts import facts_record
from solon.stats.correlation import Correlation


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisScoreRow:
    """axes, in the journal: one preference model's scores of both replies of a pair; None where one is too long."""

    row_id: str
    pair: int
    score_a: float | None
    score_b: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisDifference:
    """A pair on one axis: the preference model's score of reply A minus that of B, and the judge's label."""

    axis: str
    difference: float | None
    p_a: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisPairRow:
    """axes: a held-out pair with the difference on every axis."""

    row_id: str
    pair: int
    prompt: Conversation
    response_a: str
    response_b: str
    axes: tuple[AxisDifference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisFigures:
    """One axis: its labels, and how its preference model was trained."""

    axis: str
    labelled: int
    undecided: int
    training: int
    held_out: int
    accuracy: float | None
    """Of the preference model on the judge's labels of held-out pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisCell:
    """Two axes on the same held-out pairs."""

    one: str
    other: str
    scores: Correlation | None
    """Of the two preference models' score differences; None where a model tells no pair apart."""
    labels: Correlation | None
    """Of the judge's labels, as their distance from one half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxesFacts:
    """axes: everything about the axes and each two of them."""

    constitution: str
    judge: str
    pairs: int
    axes: tuple[AxisFigures, ...]
    cells: tuple[AxisCell, ...]

    def record(self) -> dict[str, Any]:
        """As plain values, for the manifest."""
        return facts_record(self)

    def cell(self, one: str, other: str) -> AxisCell:
        """The cell of two axes, in either order; raises KeyError where there is none."""
        for each in self.cells:
            if {each.one, each.other} == {one, other}:
                return each
        raise KeyError((one, other))
