"""A figure of the paper as the reproduction has it: the paper's claim, our checks with their verdicts, and the plots.

All of it is plain values, which `results.json` holds and the page draws. A check is one statement about one difference
(`solon.stats.claim_verdicts`). What cannot be shown here is said in `missing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from solon.stats.claim_verdicts import ClaimVerdict, Difference, Expected, together, verdict_of


class Quantity(StrEnum):
    """What a check's figure is, and so how it is written."""

    ELO = "Elo points"
    SHARE = "percentage points"
    SCORE = "score"
    RATING = "points of 4"
    ERROR = "calibration error"


@dataclass(frozen=True, slots=True)
class ClaimCheck:
    """One statement, and what was found."""

    says: str
    quantity: Quantity
    expected: Expected
    found: Difference
    margin: float
    verdict: ClaimVerdict


class PlotKind(StrEnum):
    """How a plot is drawn."""

    LINES = "lines"
    """A value (y) over steps or numbers (x), a line for each name."""
    SCATTER = "scatter"
    """Two values against each other, a line for each name."""
    DOTS = "dots"
    """A value for each name."""
    RELIABILITY = "reliability"
    """A predicted probability (x) and how often it came true (y)."""


@dataclass(frozen=True, slots=True)
class PlotPoint:
    """A point with its 95 % interval upwards, and sideways where the plot is a scatter."""

    x: float
    up: Difference
    across: Difference | None = None
    label: str = ""
    n: int = 0


@dataclass(frozen=True, slots=True)
class PlotLine:
    """Points that belong together."""

    name: str
    points: tuple[PlotPoint, ...]


@dataclass(frozen=True, slots=True)
class FigurePlot:
    """One plot of a figure."""

    title: str
    kind: PlotKind
    x_name: str
    y_name: str
    lines: tuple[PlotLine, ...]
    share: bool = False
    """Whether y is a share, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class PaperFigure:
    """A figure of the paper, measured here."""

    number: int
    title: str
    claim: str
    """What the paper says, in our words."""
    here: str
    """What stands here in the place of what the paper measured."""
    checks: tuple[ClaimCheck, ...]
    plots: tuple[FigurePlot, ...]
    verdict: ClaimVerdict
    missing: tuple[str, ...] = ()
    """What of the figure cannot be shown here, and why."""


@dataclass(frozen=True, slots=True)
class FigureText:
    """The words of a figure."""

    number: int
    title: str
    claim: str
    here: str


def paper_figure(
    words: FigureText, checks: list[ClaimCheck], plots: list[FigurePlot], missing: tuple[str, ...] = ()
) -> PaperFigure:
    """A figure with the verdict that follows from its checks."""
    verdict = together(check.verdict for check in checks)
    return PaperFigure(
        words.number, words.title, words.claim, words.here, tuple(checks), tuple(plots), verdict, missing
    )


def checked(
    says: str, quantity: Quantity, expected: Expected, found: Difference | None, margin: float = 0.0
) -> list[ClaimCheck]:
    """The check of a difference, in a list that is empty where nothing was measured."""
    if found is None:
        return []
    return [ClaimCheck(says, quantity, expected, found, margin, verdict_of(expected, found, margin))]
