"""A figure of shares as dots with their 95 % intervals, one below the other, beside the level of chance."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from solon.reporting.charts import Figures
from solon.reporting.svg import PlotFrame, line, percent_marks, tag, text
from solon.reporting.text import cases
from solon.stats.intervals import interval, percent

ROW = 21.0
LEFT, TOP, BOTTOM, WIDTH = 170.0, 12.0, 34.0, 520.0
LABEL_LENGTH = 26
Dot = tuple[str, Figures, str]
"""A name, a share, and the class of its colour."""


def dots(title: str, shares: Sequence[Dot], chance: float | None = None) -> Markup | None:
    """One row for each share; None without any. `chance` is drawn as a dotted line across all rows."""
    if not shares:
        return None
    height = TOP + BOTTOM + ROW * len(shares)
    frame = PlotFrame.of((WIDTH, height), (0.0, 1.0), (0.0, float(len(shares))), (TOP, 20, BOTTOM, LEFT))
    bottom = height - BOTTOM
    pieces = [line((frame.x(value), TOP), (frame.x(value), bottom), "rule") for value, _ in percent_marks(0, 1)]
    pieces += [text(frame.x(value), bottom + 17, words, "tick", "middle") for value, words in percent_marks(0, 1)]
    if chance is not None:
        pieces.append(line((frame.x(chance), TOP), (frame.x(chance), bottom), "path"))
    for row, (name, share, tint) in enumerate(shares):
        y = TOP + ROW * (row + 0.5)
        shown = name if len(name) <= LABEL_LENGTH else f"{name[: LABEL_LENGTH - 1]}…"
        says = f"{name}: {percent(share['value'])} [{interval(share)}] of {cases(share)}"
        whisker = line((frame.x(share["low"]), y), (frame.x(share["high"]), y), "whisker")
        dot = tag("circle", cx=frame.x(share["value"]), cy=y, r=4.2, class_="dot")
        pieces.append(text(LEFT - 12, y + 4, shown, "tick", "end"))
        pieces.append(tag("g", tag("title", says), whisker, dot, class_=tint))
    return frame.figure(title, *pieces)
