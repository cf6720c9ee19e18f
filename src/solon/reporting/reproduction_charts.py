"""The plots of the reproduction's figures: lines, scatters, dots and calibration, each with 95 % intervals.

Dots are rows of the page: a name, a strip and the numbers as words. The strip has the scale of its own plot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from markupsafe import Markup

from solon.pipeline.reproduction.paper_figures import FigurePlot, PlotKind, PlotLine, PlotPoint
from solon.reporting.charts import ReliabilityWords, end_labels, reliability, series
from solon.reporting.svg import PlotFrame, Scale, nice_domain, number_marks, percent_marks, polyline, tag
from solon.stats.claim_verdicts import Difference
from solon.stats.intervals import per_cent

_TONES = ("tone-1", "tone-5", "tone-2", "tone-3", "tone-4", "tone-6", "tone-7", "tone-0")


def draw(plot: FigurePlot) -> Markup | None:
    """One plot; None without a point."""
    if not any(each.points for each in plot.lines):
        return None
    drawn = {PlotKind.LINES: _lines, PlotKind.SCATTER: _scatter, PlotKind.DOTS: _dots, PlotKind.RELIABILITY: _bins}
    return drawn[plot.kind](plot)


def figure_in_words(found: Difference, *, share: bool, decimals: int = 2) -> str:
    """A value with its interval: a share in per cent, anything else with so many decimals."""
    if share:
        return f"{per_cent(found.value)} % [{per_cent(found.low)} to {per_cent(found.high)}]"
    value, low, high = (f"{each:.{decimals}f}" for each in (found.value, found.low, found.high))
    return f"{value} [{low} to {high}]"


def _decimals(found: Sequence[Difference]) -> int:
    """None where the numbers of a plot are large, as Elo is; else two."""
    return 0 if max((abs(end) for each in found for end in (each.low, each.high)), default=0.0) >= 20 else 2


def _in_words(found: Difference, plot: FigurePlot) -> str:
    return figure_in_words(found, share=plot.share, decimals=_decimals([point.up for point in _points(plot)]))


def _tone(position: int) -> str:
    return _TONES[position % len(_TONES)]


def _points(plot: FigurePlot) -> Iterator[PlotPoint]:
    for each in plot.lines:
        yield from each.points


def _domain(ends: Sequence[Difference], *, share: bool) -> tuple[float, float]:
    return (0.0, 1.0) if share else nice_domain([end for each in ends for end in (each.low, each.high)])


def _marks(domain: tuple[float, float], *, share: bool) -> list[tuple[float, str]]:
    return percent_marks(*domain) if share else number_marks(*domain)


def _lines(plot: FigurePlot) -> Markup:
    steps = sorted({point.x for point in _points(plot)})
    domain = _domain([point.up for point in _points(plot)], share=plot.share)
    pad = 0.04 * (steps[-1] - steps[0]) or 0.5
    frame = PlotFrame.of((520, 320), (steps[0] - pad, steps[-1] + pad), domain, (30, 140, 46, 56))
    x_marks = [(step, f"{step:g}") for step in _spaced(steps)]
    pieces = [frame.axes(plot.x_name, plot.y_name, x_marks, _marks(domain, share=plot.share))]
    ends: list[tuple[float, str, str]] = []
    for position, each in enumerate(plot.lines):
        if not each.points:
            continue
        # Shifted sideways, so that intervals do not cover each other.
        aside = pad * 0.25 * (position - (len(plot.lines) - 1) / 2)
        points = [(point.x + aside, asdict(point.up), _says(each, point, plot)) for point in each.points]
        pieces.append(series(frame, points, _tone(position)))
        ends.append((frame.y(each.points[-1].up.value), each.name, _tone(position)))
    return frame.figure(f"{plot.title}, with 95 % intervals", *pieces, *end_labels(frame, ends))


def _spaced(steps: Sequence[float], most: int = 8) -> list[float]:
    """At most about `most` of the steps, evenly, the last one included."""
    stride = -(-len(steps) // most)
    return list(reversed(list(reversed(steps))[::stride]))


def _scatter(plot: FigurePlot) -> Markup:
    known = [(point, point.across) for point in _points(plot) if point.across is not None]
    # Intervals of snapshots cover each other, so the axes follow the values.
    x_domain = nice_domain([across.value for _, across in known])
    y_domain = nice_domain([point.up.value for point, _ in known])
    frame = PlotFrame.of((640, 360), x_domain, y_domain, (30, 140, 46, 56))
    pieces = [frame.axes(plot.x_name, plot.y_name, number_marks(*x_domain), number_marks(*y_domain))]
    # Names stand at the right, at the heights of the last steps: beside the dots they would cover each other.
    ends: list[tuple[float, str, str]] = []
    for position, each in enumerate(plot.lines):
        places = [
            (frame.x(point.across.value), frame.y(point.up.value), _says(each, point, plot))
            for point in each.points
            if point.across is not None
        ]
        marks = [polyline([(x, y) for x, y, _ in places], "series")]
        for number, (x, y, says) in enumerate(places):
            radius = 5.5 if number == len(places) - 1 else 2.5
            marks.append(tag("circle", tag("title", says), cx=x, cy=y, r=radius, class_="dot"))
        pieces.append(tag("g", *marks, class_=_tone(position)))
        ends.append((places[-1][1], each.name, _tone(position)))
    return frame.figure(f"{plot.title}; the large dot is the last step", *pieces, *end_labels(frame, ends))


def _bins(plot: FigurePlot) -> Markup | None:
    words = ReliabilityWords(plot.x_name, plot.y_name, f"{plot.title}, with 95 % intervals", "probability", "true")
    return reliability([{"p": point.x, "n": point.n, **asdict(point.up)} for point in _points(plot)], words)


def _dots(plot: FigurePlot) -> Markup:
    domain = _domain([point.up for point in _points(plot)], share=plot.share)
    scale = Scale(*domain, 4.0, 96.0)
    marks = _marks(domain, share=plot.share)
    words = tag(
        "svg", *(tag("text", name, x=f"{scale(at):.2f}%", y=12.0, text_anchor="middle") for at, name in marks),
        class_="strip",
    )  # fmt: skip
    rows = [tag("div", tag("span", plot.x_name, class_="dot-name"), words, class_="dot-row dot-scale")]
    for position, each in enumerate(plot.lines):
        for point in each.points:
            rows.append(_dot_row(each.name, point.up, scale, marks, _tone(position), plot))
    return tag("div", tag("div", *rows, class_="dot-rows"), class_="dot-groups")


def _dot_row(
    name: str, found: Difference, scale: Scale, marks: Sequence[tuple[float, str]], tone: str, plot: FigurePlot
) -> Markup:
    low, value, high = (f"{scale(each):.2f}%" for each in (found.low, found.value, found.high))
    rules = [
        tag("line", x1=f"{scale(at):.2f}%", x2=f"{scale(at):.2f}%", y1="0", y2="100%", class_="rule") for at, _ in marks
    ]
    whisker = tag("line", x1=low, x2=high, y1="50%", y2="50%", class_="whisker")
    dot = tag("circle", cx=value, cy="50%", r=5.0, class_="dot")
    strip = tag("svg", *rules, whisker, dot, class_="strip", aria_hidden="true")
    says = _in_words(found, plot)
    shown, _, between = says.partition(" [")
    figures = tag("span", tag("b", shown), " ", tag("span", f"[{between}", class_="between"), class_="dot-value")
    return tag("div", tag("span", name, class_="dot-name"), strip, figures, class_=f"dot-row {tone}", title=says)


def _says(each: PlotLine, point: PlotPoint, plot: FigurePlot) -> str:
    at = point.label or f"{point.x:g}"
    says = f"{each.name}, {at}: {_in_words(point.up, plot)}"
    if point.across is None:
        return says
    return f"{says}, {plot.x_name} {figure_in_words(point.across, share=False, decimals=_decimals([point.across]))}"
