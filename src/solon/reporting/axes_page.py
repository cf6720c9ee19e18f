"""The page of `solon axes`: the axes, the matrix of correlations, and the scatter behind each cell.

A pure function of the folder of the correlations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from solon.reporting.axis_charts import (
    MOST_POINTS,
    UNLEARNED_NOTE,
    Point,
    accuracy_in_words,
    cell_id,
    in_words,
    marked,
    matrix,
    scatter,
)
from solon.reporting.page import fill, write_page
from solon.runs import Artefact
from solon.runs.axis_rows import AxesFacts, AxisCell, AxisPairRow
from solon.runs.facts import read_facts

AXES_PAGE = "axes.html"


@dataclass(frozen=True, slots=True)
class ScatterSection:
    """The scatter of one cell, with its figures in words."""

    id: str
    title: str
    scores: str
    labels: str
    picture: Markup | None


def write(correlations: Artefact, output: Path | None = None) -> Path:
    """Write the page next to the correlations; returns its path."""
    facts = read_facts(AxesFacts, correlations.facts, str(correlations.path))
    rows = correlations.rows(AxisPairRow)
    page = fill(
        "axes.html",
        facts=facts,
        matrix=matrix(facts),
        axes=[(marked(each.axis, facts), accuracy_in_words(each), each) for each in facts.axes],
        note=UNLEARNED_NOTE if facts.unlearned else "",
        sections=[_section(cell, facts, rows) for cell in facts.in_order()],
        most=MOST_POINTS,
    )
    return write_page(output or correlations.path / AXES_PAGE, page)


def points_of(cell: AxisCell, rows: Sequence[AxisPairRow]) -> list[Point]:
    """The score differences of the pairs that both models scored."""
    found: list[Point] = []
    for row in rows:
        on = {each.axis: each.difference for each in row.axes}
        x, y = on[cell.one], on[cell.other]
        if x is not None and y is not None:
            found.append((x, y))
    return found


def _section(cell: AxisCell, facts: AxesFacts, rows: Sequence[AxisPairRow]) -> ScatterSection:
    names = [each.axis for each in facts.axes]
    return ScatterSection(
        id=cell_id(names.index(cell.one), names.index(cell.other)),
        title=f"{marked(cell.one, facts)} and {marked(cell.other, facts)}",
        scores=in_words(cell.scores),
        labels=in_words(cell.labels),
        picture=scatter(cell, points_of(cell, rows)),
    )
