"""The tables and facts of preference models along several axes: their score differences, and how these go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from solon.conversation import Conversation
from solon.runs.facts import facts_record
from solon.stats.correlation import Correlation
from solon.stats.intervals import Share, wilson


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

    @property
    def accuracy_share(self) -> Share | None:
        """The accuracy with its interval; None where it is not known."""
        if self.accuracy is None or self.held_out == 0:
            return None
        return wilson(self.accuracy * self.held_out, self.held_out)

    @property
    def learned(self) -> bool:
        """Whether the model is known to be better than chance on its axis."""
        found = self.accuracy_share
        return found is not None and found.low > 0.5


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

    @property
    def unlearned(self) -> frozenset[str]:
        """The axes that no model is known to have learned; a correlation with one of them says nothing."""
        return frozenset(each.axis for each in self.axes if not each.learned)

    def says_nothing(self, cell: AxisCell) -> bool:
        """Whether a model of the cell is not known to have learned its axis."""
        return not self.unlearned.isdisjoint((cell.one, cell.other))

    def in_order(self) -> list[AxisCell]:
        """The cells: those of learned axes first, and of these the strongest correlation."""
        return sorted(
            self.cells,
            key=lambda cell: (self.says_nothing(cell), -abs(cell.scores.value) if cell.scores is not None else 1.0),
        )

    def cell(self, one: str, other: str) -> AxisCell:
        """The cell of two axes, in either order; raises KeyError where there is none."""
        for each in self.cells:
            if {each.one, each.other} == {one, other}:
                return each
        raise KeyError((one, other))
