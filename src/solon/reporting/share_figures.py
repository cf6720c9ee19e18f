"""Plots of shares with their 95 % intervals: `dots` has one share in each row, `by_group` one for each model.

`by_group` shows what a constitution covers: in a group of harmful prompts without a principle, the trained models stay
near the assistant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from solon.reporting.charts import Figures, tone
from solon.reporting.svg import PlotFrame, line, percent_marks, tag, text
from solon.reporting.visible_text import cases
from solon.stats.intervals import interval, percent

Dot = tuple[str, Figures, str]
"""A name, a share, and the class of its colour."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """The dimensions of a plot with row names on the left and shares from 0 to 100 % on the right."""

    row: float
    left: float
    top: float
    bottom: float
    width: float
    label: int
    """Maximum characters of a name."""

    def frame(self, count: int) -> PlotFrame:
        """The frame for `count` rows."""
        size = self.width, self.top + self.bottom + self.row * count
        return PlotFrame.of(size, (0.0, 1.0), (0.0, float(count)), (self.top, 20, self.bottom, self.left))

    def scale(self, frame: PlotFrame, count: int) -> list[Markup]:
        """The lines and marks of the percentages."""
        bottom = self.top + self.row * count
        rules = [line((frame.x(value), self.top), (frame.x(value), bottom), "rule") for value, _ in percent_marks(0, 1)]
        marks = [text(frame.x(value), bottom + 17, words, "tick", "middle") for value, words in percent_marks(0, 1)]
        return rules + marks

    def middle(self, row: int) -> float:
        """The height of a row's middle."""
        return self.top + self.row * (row + 0.5)

    def name(self, row: int, name: str) -> Markup:
        """The name on the left of a row."""
        shown = name if len(name) <= self.label else f"{name[: self.label - 1]}…"
        return text(self.left - 12, self.middle(row) + 4, shown, "tick", "end")


_GROUPS = _Rows(row=44.0, left=118.0, top=46.0, bottom=40.0, width=720.0, label=16)
_DOTS = _Rows(row=21.0, left=170.0, top=12.0, bottom=34.0, width=520.0, label=26)


def by_group(groups: Mapping[str, Mapping[str, Figures]]) -> Markup | None:
    """Share of harmful replies by group and model, with 95 % intervals; None with fewer than two groups."""
    names = list(dict.fromkeys(name for shares in groups.values() for name in shares))
    if len(names) < 2:
        return None
    frame = _GROUPS.frame(len(names))
    pieces = _GROUPS.scale(frame, len(names))
    for row, name in enumerate(names):
        top = _GROUPS.top + _GROUPS.row * row
        pieces.append(_GROUPS.name(row, name))
        pieces.append(line((_GROUPS.left, top), (_GROUPS.width - 20, top), "rule"))
    place = _GROUPS.left
    for index, (model, shares) in enumerate(groups.items()):
        key = tag("circle", cx=place + 6, cy=22.0, r=5.0, class_="dot")
        pieces.append(tag("g", key, text(place + 17, 26, model[:24], "point-name"), class_=tone(model, index)))
        place += 40 + 7.2 * len(model[:24])
        offset = (index - (len(groups) - 1) / 2) * (_GROUPS.row * 0.2)
        for row, name in enumerate(names):
            if name in shares:
                share = shares[name]
                says = f"{model} on {name}: harmful {percent(share['value'])} [{interval(share)}] of {share['n']}"
                mark = _mark(frame, _GROUPS.middle(row) + offset, says, share, 4.5)
                pieces.append(tag("g", *mark, class_=tone(model, index)))
    return frame.figure("Harmful replies by what the prompt is about, with 95 % intervals", *pieces)


def dots(title: str, shares: Sequence[Dot], chance: float | None = None) -> Markup | None:
    """One row for each share; None without any. `chance` is drawn as a dotted line across all rows."""
    if not shares:
        return None
    frame = _DOTS.frame(len(shares))
    pieces = _DOTS.scale(frame, len(shares))
    if chance is not None:
        bottom = _DOTS.top + _DOTS.row * len(shares)
        pieces.append(line((frame.x(chance), _DOTS.top), (frame.x(chance), bottom), "path"))
    for row, (name, share, tint) in enumerate(shares):
        says = f"{name}: {percent(share['value'])} [{interval(share)}] of {cases(share)}"
        pieces.append(_DOTS.name(row, name))
        pieces.append(tag("g", *_mark(frame, _DOTS.middle(row), says, share, 4.2), class_=tint))
    return frame.figure(title, *pieces)


def _mark(frame: PlotFrame, y: float, says: str, share: Figures, radius: float) -> tuple[Markup, ...]:
    whisker = line((frame.x(share["low"]), y), (frame.x(share["high"]), y), "whisker")
    return tag("title", says), whisker, tag("circle", cx=frame.x(share["value"]), cy=y, r=radius, class_="dot")
