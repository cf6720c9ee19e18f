"""Escaped SVG elements, linear scales and axes.

The plots need only points, lines, bars and text, so this module replaces a plotting library. Colours come from the
page's style sheet (light and dark). Every attribute and text passes through markupsafe; no other module of the report
writes tags.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from solon.reporting.visible_text import visible

Point = tuple[float, float]


def tag(name: str, *content: str | Markup, **attributes: str | float | None) -> Markup:
    """An element with escaped attributes and content; `class_` gives `class`, and `_` becomes `-` in other names."""
    parts = []
    for key, value in attributes.items():
        if value is not None:
            shown = f"{value:.6g}" if isinstance(value, float) else visible(str(value))
            parts.append(Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), shown))
    inner = Markup("").join(escape(piece if isinstance(piece, Markup) else visible(piece)) for piece in content)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), Markup("").join(parts), inner)


def text(x: float, y: float, words: str, class_: str, anchor: str = "start") -> Markup:
    """A line of words at its baseline."""
    return tag("text", words, x=float(x), y=float(y), class_=class_, text_anchor=anchor)


def polyline(points: Iterable[Point], class_: str) -> Markup:
    """A line through the points."""
    return tag("polyline", points=" ".join(f"{x:.6g},{y:.6g}" for x, y in points), class_=class_)


def line(start: Point, end: Point, class_: str) -> Markup:
    """A straight line."""
    (x1, y1), (x2, y2) = start, end
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values to positions."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The position of `value`; values outside the domain are clamped to it."""
        held = min(max(value, self.low), self.high)
        return self.start + (held - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart) inside [low, high]; roughly `about` of them."""
    raw = (high - low) / max(about, 1)
    if not math.isfinite(raw) or raw <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def nice_domain(values: Sequence[float], about: int = 5) -> tuple[float, float]:
    """A domain that includes all `values` and ends on multiples of the distance of `ticks(low, high, about)`."""
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    marks = ticks(low, high, about)
    step = marks[1] - marks[0] if len(marks) > 1 else (high - low)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


@dataclass(frozen=True, slots=True)
class PlotFrame:
    """The plotting area of a figure with its two scales, in the units of the view box."""

    width: float
    height: float
    x: Scale
    y: Scale

    @classmethod
    def of(
        cls,
        size: tuple[float, float],
        x: tuple[float, float],
        y: tuple[float, float],
        margins: tuple[float, float, float, float] = (14, 16, 44, 52),
    ) -> PlotFrame:
        """A frame of `size` with the given domains; `margins` are top, right, bottom, left."""
        top, right, bottom, left = margins
        width, height = size
        return cls(width, height, Scale(*x, left, width - right), Scale(*y, height - bottom, top))

    def axes(
        self,
        x_label: str,
        y_label: str,
        x_marks: Sequence[tuple[float, str]],
        y_marks: Sequence[tuple[float, str]],
    ) -> Markup:
        """Light horizontal rules, the tick labels and the names of both axes (the y name above the axis)."""
        left, right, bottom = self.x.start, self.x.end, self.y.start
        pieces = [line((left, self.y(value)), (right, self.y(value)), "rule") for value, _ in y_marks]
        pieces += [text(left - 8, self.y(value) + 4, words, "tick", "end") for value, words in y_marks]
        pieces += [text(self.x(value), bottom + 17, words, "tick", "middle") for value, words in x_marks]
        pieces.append(line((left, bottom), (right, bottom), "axis"))
        pieces.append(text((left + right) / 2, bottom + 36, x_label, "axis-name", "middle"))
        pieces.append(text(0, 11, y_label, "axis-name"))
        return Markup("").join(pieces)

    def figure(self, title: str, *content: Markup) -> Markup:
        """The whole SVG, with `title` for screen readers."""
        view = f"0 0 {self.width:g} {self.height:g}"
        return tag("svg", tag("title", title), *content, viewBox=view, role="img", class_="chart")


def percent_marks(low: float, high: float, about: int = 5) -> list[tuple[float, str]]:
    """Ticks of a share axis, in per cent."""
    return [(value, f"{value * 100:g} %") for value in ticks(low, high, about)]


def number_marks(
    low: float, high: float, about: int = 5, show: Callable[[float], str] = "{:g}".format
) -> list[tuple[float, str]]:
    """Ticks of a number axis."""
    return [(value, show(value)) for value in ticks(low, high, about)]
