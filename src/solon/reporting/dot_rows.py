"""Rows of dots: one measured share in each row, with its 95 % interval, on one scale from 0 to 100 %.

A row is a name, a strip with the dot, and the figures as words. Name and words are text of the page, not of a picture,
and the strip's coordinates are percentages: however narrow the page, no letter becomes smaller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from solon.reporting.svg import tag
from solon.reporting.visible_text import cases
from solon.stats.intervals import interval, percent

Figures = Mapping[str, Any]
"""A share as `{"value", "low", "high", "n"}`."""
_MARKS = (0, 25, 50, 75, 100)
_SCALE = tag(
    "svg", *(tag("text", f"{mark} %", x=f"{mark}%", y=12.0, text_anchor="middle") for mark in _MARKS), class_="strip"
)


@dataclass(frozen=True, slots=True)
class DotRow:
    """One row: its name, its figure, and the class of its colour."""

    name: str
    figure: Figures | None
    """None where nothing was measured."""
    tint: str
    words: tuple[str, str] | None = None
    """Value and interval in words where the figure is no share; it has no dot then."""


@dataclass(frozen=True, slots=True)
class DotGroup:
    """Rows that are read together, with a title and a note on which way is better."""

    title: str
    rows: tuple[DotRow, ...]
    note: str = ""
    tint: str = ""


def dot_rows(groups: Sequence[DotGroup], chance: float | None = None) -> Markup | None:
    """Groups of rows under one scale; None without any row. `chance` is marked in every strip."""
    filled = [group for group in groups if group.rows]
    if not filled:
        return None
    return tag("div", *(tag("div", *_group(group, chance), class_="dot-rows") for group in filled), class_="dot-groups")


def _group(group: DotGroup, chance: float | None) -> Iterable[Markup]:
    note = [tag("small", group.note)] if group.note else []
    swatch = [tag("span", class_=f"swatch {group.tint}")] if group.tint else []
    if group.title:
        yield tag("p", *swatch, tag("b", group.title), " ", *note, class_="dot-title")
    if any(row.words is None and row.figure is not None for row in group.rows):
        yield tag("div", tag("span", class_="dot-name"), _SCALE, class_="dot-row dot-scale", aria_hidden="true")
    for row in group.rows:
        yield _row(row, chance)


def _row(row: DotRow, chance: float | None) -> Markup:
    name = tag("span", row.name if len(row.name) <= 60 else f"{row.name[:59]}…", class_="dot-name", dir="auto")
    if row.figure is None:
        return tag("div", name, tag("span", "not measured", class_="dot-value none"), class_="dot-row")
    value, ends = row.words or (percent(row.figure["value"]), interval(row.figure))
    figures = (tag("b", value), " ", tag("span", f"[{ends}]", class_="between"))
    says = f"{row.name}: {value} [{ends}] of {cases(row.figure)}"
    strip = [] if row.words else [strip_of(row.figure, chance)]
    class_ = f"dot-row {row.tint}"
    return tag("div", name, *strip, tag("span", *figures, class_="dot-value"), class_=class_, title=says)


def strip_of(figure: Figures, chance: float | None = None) -> Markup:
    """A share as a dot on its interval; the strip is as wide as its place."""
    low, value, high = (f"{min(max(float(figure[key]), 0.0), 1.0):.2%}" for key in ("low", "value", "high"))
    rules = [tag("line", x1=f"{mark}%", x2=f"{mark}%", y1="0", y2="100%", class_="rule") for mark in _MARKS]
    if chance is not None:
        rules.append(tag("line", x1=f"{chance:.2%}", x2=f"{chance:.2%}", y1="0", y2="100%", class_="chance"))
    whisker = tag("line", x1=low, x2=high, y1="50%", y2="50%", class_="whisker")
    dot = tag("circle", cx=value, cy="50%", r=5.0, class_="dot")
    return tag("svg", *rules, whisker, dot, class_="strip", aria_hidden="true")
