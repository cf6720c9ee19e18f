"""The plots of several axes: the matrix of correlations, and the scatter behind each of its cells."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from solon.reporting.svg import PlotFrame, line, nice_domain, number_marks, tag, text
from solon.runs.axis_rows import AxesFacts, AxisCell, AxisFigures
from solon.stats.correlation import Correlation
from solon.stats.intervals import interval, per_cent, signed, signed_interval

CELL = 88
"""The side of a cell, with room for the figure and its interval."""
MOST_POINTS = 400
"""Points of a scatter; of more pairs the first are drawn."""
Point = tuple[float, float]
UNLEARNED = "*"
"""Behind the name of an axis that its model is not known to have learned."""
UNLEARNED_NOTE = (
    f"{UNLEARNED} On its held-out labels the model of this axis is not better than chance, by the 95 % interval, or "
    "there are none: a correlation with it says nothing."
)


def cell_id(one: int, other: int) -> str:
    """The name of the scatter of two axes, by their positions: names of axes come from the constitution."""
    return f"scatter-{min(one, other)}-{max(one, other)}"


def in_words(found: Correlation | None) -> str:
    """A correlation with its interval: `+0.62 [+0.48 to +0.74]`."""
    return "undefined" if found is None else f"{signed(found.value)} [{signed_interval(found.facts())}]"


def marked(axis: str, facts: AxesFacts) -> str:
    """The name of an axis, with a mark where its model is not known to have learned it."""
    return f"{axis}{UNLEARNED}" if axis in facts.unlearned else axis


def accuracy_in_words(of: AxisFigures) -> str:
    """The accuracy in per cent with its interval: `93.8 [71.7-98.9]`."""
    found = of.accuracy_share
    return "-" if found is None else f"{per_cent(found.value)} [{interval(found.facts())}]"


def matrix(facts: AxesFacts) -> Markup:
    """The correlations of the models' score differences; every cell links to its scatter."""
    names = [each.axis for each in facts.axes]
    left, top = 130, 24
    side = CELL * len(names)
    pieces: list[Markup] = []
    for row, one in enumerate(names):
        shown = f"{_short(one)}{UNLEARNED if one in facts.unlearned else ''}"
        y = top + row * CELL
        pieces.append(text(left - 8, y + CELL / 2 + 4, shown, "cell-value", "end"))
        pieces.append(text(left + row * CELL + CELL / 2, top + side + 18 + 16 * (row % 2), shown, "tick", "middle"))
        for column, other in enumerate(names[:row]):
            cell = facts.cell(one, other)
            about = f"{marked(one, facts)} and {marked(other, facts)}"
            pieces.append(_cell(cell.scores, (left + column * CELL, y), about, cell_id(row, column)))
        pieces.append(text(left + row * CELL + CELL / 2, y + CELL / 2 + 4, "1", "tick", "middle"))
    view = f"0 0 {left + side + 20} {top + side + 48}"
    title = "Correlation of the preference models' score differences, with 95 % intervals"
    width = float(left + side + 20)  # as wide as its cells: stretched over the page, three axes would fill a screen
    return tag("svg", tag("title", title), *pieces, viewBox=view, role="img", class_="chart sized", width=width)


def _cell(found: Correlation | None, corner: Point, names: str, target: str) -> Markup:
    x, y = corner
    tint = "tone-0" if found is None else "tone-2" if found.value >= 0 else "tone-5"
    strength = 0.0 if found is None else abs(found.value)
    box = tag(
        "rect",
        x=float(x + 1),
        y=float(y + 1),
        width=float(CELL - 2),
        height=float(CELL - 2),
        class_="bar",
        fill_opacity=0.08 + 0.72 * strength,
    )
    middle = x + CELL / 2
    says = tag("title", f"{names}: {in_words(found)}")
    shown = [text(middle, y + CELL / 2 - 3, "-" if found is None else signed(found.value), "cell-value", "middle")]
    if found is not None:
        ends = f"{signed(found.low)} {signed(found.high)}"
        shown.append(text(middle, y + CELL / 2 + 14, ends, "cell-range", "middle"))
    return tag("a", says, tag("g", box, class_=tint), *shown, href=f"#{target}")


def scatter(cell: AxisCell, points: Sequence[Point]) -> Markup | None:
    """The score differences of held-out pairs on two axes; None without a pair."""
    if not points:
        return None
    shown = points[:MOST_POINTS]
    x_domain, y_domain = (nice_domain([0.0, *(point[side] for point in shown)], 4) for side in (0, 1))
    frame = PlotFrame.of((320, 240), x_domain, y_domain, (26, 14, 44, 46))
    pieces = [
        frame.axes(_short(cell.one), _short(cell.other), number_marks(*x_domain, 4), number_marks(*y_domain, 4)),
        line((frame.x(0), frame.y(y_domain[0])), (frame.x(0), frame.y(y_domain[1])), "rule"),
        line((frame.x(x_domain[0]), frame.y(0)), (frame.x(x_domain[1]), frame.y(0)), "rule"),
    ]
    dots = [tag("circle", cx=frame.x(x), cy=frame.y(y), r=2.6, class_="dot", fill_opacity=0.6) for x, y in shown]
    pieces.append(tag("g", *dots, class_="tone-3"))
    return frame.figure(f"Score differences on {cell.one} (x) and {cell.other} (y)", *pieces)


def _short(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}…"
