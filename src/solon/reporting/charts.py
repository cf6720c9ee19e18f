"""The report's plots: each function turns plain numbers into one SVG.

They follow the paper's figures: helpfulness against harmlessness for every model (its figure 2), harmfulness by
revision (figure 5), training curves, and the distribution of the labels (figure 9). Every measured point has its 95 %
interval and shows its numbers on hover.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from solon.reporting.svg import PlotFrame, line, nice_domain, number_marks, percent_marks, polyline, tag, text
from solon.reporting.visible_text import cases
from solon.stats.intervals import interval, percent, probability

Figures = Mapping[str, Any]
"""A share or mean as `{"value", "low", "high", "n"}`."""
MODEL_TONES = {"pretrained": "tone-0", "assistant": "tone-1", "sl-cai": "tone-2", "rl-cai": "tone-3"}
SeriesPoint = tuple[float, Figures, str]
"""The x value of a point, its figure, and its text on hover."""
_OTHER_TONES = ("tone-4", "tone-5", "tone-6", "tone-7")


def tone(name: str, position: int) -> str:
    """The colour class of a model: fixed for the paper's four, by position for others."""
    return MODEL_TONES.get(name, _OTHER_TONES[position % len(_OTHER_TONES)])


def trade_off(models: Mapping[str, Mapping[str, Figures]], path: Sequence[str] | None = None) -> Markup | None:
    """Helpful replies to benign prompts (x) against harmless replies to harmful prompts (y), by model.

    A line joins the models in `path`, each trained from the one before; all models when it is None.
    """
    points = [
        (name, figures["helpful"], _complement(figures["harmful"]))
        for name, figures in models.items()
        if "helpful" in figures and "harmful" in figures
    ]
    if not points:
        return None
    x_domain = _share_domain([share for _, share, _ in points])
    y_domain = _share_domain([share for _, _, share in points])
    frame = PlotFrame.of((460, 330), x_domain, y_domain, (30, 22, 46, 50))
    pieces = [
        frame.axes(
            "helpful replies to benign prompts",
            "harmless replies to harmful prompts",
            percent_marks(*x_domain),
            percent_marks(*y_domain),
        )
    ]
    places = [(frame.x(across["value"]), frame.y(up["value"])) for _, across, up in points]
    at = dict(zip((name for name, _, _ in points), places, strict=True))
    joined = [at[name] for name in (at if path is None else path) if name in at]
    if len(joined) > 1:
        pieces.append(polyline(joined, "path"))
    taken = [(x - 7, y - 7, x + 7, y + 7) for x, y in places]
    for index, ((name, across, up), (x, y)) in enumerate(zip(points, places, strict=True)):
        says = f"{name}: helpful {_in_words(across)}, harmless {_in_words(up)}"
        bars = (
            line((frame.x(across["low"]), y), (frame.x(across["high"]), y), "whisker"),
            line((x, frame.y(up["low"])), (x, frame.y(up["high"])), "whisker"),
        )
        dot = tag("circle", cx=x, cy=y, r=5.5, class_="dot")
        pieces.append(tag("g", tag("title", says), *bars, dot, class_=tone(name, index)))
        pieces.append(_label_near(name, (x, y), frame, taken, tone(name, index)))
    return frame.figure("Helpfulness against harmlessness for every model, with 95 % intervals", *pieces)


def _complement(share: Figures) -> dict[str, Any]:
    return {**share, "value": 1 - share["value"], "low": 1 - share["high"], "high": 1 - share["low"]}


def _share_domain(shares: Sequence[Figures], span: float = 0.4) -> tuple[float, float]:
    """Ends at multiples of 10 % around the intervals, at least `span` apart, inside [0, 1]."""
    low = math.floor(min(share["low"] for share in shares) * 10 + 1e-9) / 10
    high = math.ceil(max(share["high"] for share in shares) * 10 - 1e-9) / 10
    missing = max(0.0, span - (high - low))
    low = max(0.0, low - missing / 2)
    high = min(1.0, max(high, low + span))
    return round(max(0.0, min(low, high - span)), 3), round(high, 3)


Box = tuple[float, float, float, float]


def _label_near(name: str, at: tuple[float, float], frame: PlotFrame, taken: list[Box], class_: str) -> Markup:
    """The name next to its point, at the first place where it covers no other point or name, or the least."""
    x, y = at
    shown = name if len(name) <= 24 else f"{name[:23]}…"
    width = 7.2 * len(shown)
    candidates = (
        (x + 10, y - 9, "start"),
        (x - 10, y - 9, "end"),
        (x + 10, y + 18, "start"),
        (x - 10, y + 18, "end"),
        (x, y - 24, "middle"),
        (x, y + 32, "middle"),
        (x + 10, y - 26, "start"),
        (x - 10, y + 34, "end"),
    )
    best, least = candidates[0], math.inf
    for candidate in candidates:
        box = _box(candidate, width)
        outside = max(0.0, frame.x.start - box[0]) + max(0.0, box[2] - frame.width) + max(0.0, box[3] - frame.y.start)
        overlap = sum(_overlap(box, other) for other in taken) + 20 * outside + 20 * max(0.0, frame.y.end - 8 - box[1])
        if overlap < least - 1e-9:
            best, least = candidate, overlap
    taken.append(_box(best, width))
    return text(best[0], best[1], shown, f"point-name {class_}", best[2])


def _box(place: tuple[float, float, str], width: float) -> Box:
    x, y, anchor = place
    left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    return left, y - 12, left + width, y + 3


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def by_revision(revisions: Mapping[str, Mapping[str, Figures]]) -> Markup | None:
    """Shares of harmful, objecting, evasive, preachy and garbled replies by revision, with intervals for harm."""
    steps = sorted(revisions, key=int)
    if len(steps) < 2:
        return None
    last = int(steps[-1])
    frame = PlotFrame.of((460, 330), (0, last), (0.0, 1.0), (30, 84, 46, 50))
    x_marks = [(float(step), "reply" if step == "0" else step) for step in steps]
    pieces = [frame.axes("revision", "share of replies to red-team prompts", x_marks, percent_marks(0, 1))]
    ends: list[tuple[float, str, str]] = []
    for label in ("garbled", "preachy", "evasive", "objecting", "harmful"):
        known = [(step, revisions[step][label]) for step in steps if label in revisions[step]]
        if not known:
            continue
        points = [(float(step), share, f"{label} at revision {step}: {_in_words(share)}") for step, share in known]
        tint = f"label-{label}"
        if label == "harmful":
            pieces.append(series(frame, points, f"{tint} strong", 5.0))
        else:
            pieces.append(series(frame, points, tint, 2.8, whiskers=False))
        ends.append((frame.y(known[-1][1]["value"]), label, tint))
    names = end_labels(frame, ends)
    return frame.figure("Replies to red-team prompts by revision step, with 95 % intervals", *pieces, *names)


def _in_words(share: Figures) -> str:
    return f"{percent(share['value'])} [{interval(share)}] of {cases(share)}"


def series(
    frame: PlotFrame, points: Sequence[SeriesPoint], class_: str, radius: float = 4.0, *, whiskers: bool = True
) -> Markup:
    """A line through points, each with its 95 % interval and with its numbers on hover."""
    places = [(frame.x(at), frame.y(figure["value"])) for at, figure, _ in points]
    marks = [polyline(places, "series")]
    for (_, figure, says), (x, y) in zip(points, places, strict=True):
        if whiskers:
            marks.append(line((x, frame.y(figure["low"])), (x, frame.y(figure["high"])), "whisker"))
        marks.append(tag("circle", tag("title", says), cx=x, cy=y, r=radius, class_="dot"))
    return tag("g", *marks, class_=class_)


def end_labels(frame: PlotFrame, ends: Sequence[tuple[float, str, str]], gap: float = 10) -> list[Markup]:
    """The names of lines at their right ends, given as (y, name, colour class)."""
    return [text(frame.x.end + gap, y + 4, name, f"point-name {tint}") for y, name, tint in spread(ends, frame.y.start)]


def spread(ends: Sequence[tuple[float, str, str]], bottom: float, apart: float = 15) -> list[tuple[float, str, str]]:
    """Line-end labels moved apart so that none covers another, the lowest not below `bottom`."""
    placed: list[tuple[float, str, str]] = []
    floor = bottom + apart - 2
    for y, *names in sorted(ends, reverse=True):
        floor = min(y, floor - apart)
        placed.append((floor, names[0], names[1]))
    return placed


@dataclass(frozen=True, slots=True)
class Curve:
    """One training curve: a value for each step."""

    title: str
    points: tuple[tuple[float, float], ...]
    note: str = ""


def trend(curve: Curve, most: int = 200) -> Markup | None:
    """A small line plot; more than `most` points are averaged in equal stretches."""
    finite = [(x, y) for x, y in curve.points if math.isfinite(x) and math.isfinite(y)]
    if len(finite) < 2:
        return None
    stretch = math.ceil(len(finite) / most)
    shown = [_middle(finite[start : start + stretch]) for start in range(0, len(finite), stretch)]
    low, high = nice_domain([y for _, y in shown], 4)
    x_low, x_high = finite[0][0], finite[-1][0]
    frame = PlotFrame.of((260, 160), (x_low, max(x_high, x_low + 1)), (low, high), (10, 12, 26, 40))
    y_marks = number_marks(low, high, 4)
    pieces = [frame.axes("", "", number_marks(x_low, x_high, 4), y_marks)]
    pieces.append(polyline([(frame.x(x), frame.y(y)) for x, y in shown], "series"))
    x, y = shown[-1]
    says = tag("title", f"step {x:g}: {y:.3f}")
    pieces.append(tag("circle", says, cx=frame.x(x), cy=frame.y(y), r=3.2, class_="dot"))
    return frame.figure(f"{curve.title} by training step, from {finite[0][1]:.3f} to {finite[-1][1]:.3f}", *pieces)


def _middle(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def histogram(values: Sequence[float], bins: int = 20) -> Markup | None:
    """How often each probability occurs as a label."""
    if not values:
        return None
    counts = [0] * bins
    for value in values:
        counts[min(max(int(value * bins), 0), bins - 1)] += 1
    _, high = nice_domain([0, max(counts)], 4)
    frame = PlotFrame.of((460, 260), (0.0, 1.0), (0.0, high), (28, 16, 46, 50))
    marks = [mark for mark in number_marks(0, high, 4) if float(mark[0]).is_integer()]
    pieces = [frame.axes("label: probability that reply A is better", "pairs", number_marks(0, 1), marks)]
    for index, count in enumerate(counts):
        left, right = frame.x(index / bins) + 1, frame.x((index + 1) / bins) - 1
        top = frame.y(count)
        says = tag("title", f"{index / bins:.2f} to {(index + 1) / bins:.2f}: {count} pairs")
        pieces.append(tag("rect", says, x=left, y=top, width=right - left, height=frame.y.start - top, class_="bar"))
    return frame.figure(f"Distribution of {len(values)} labels", *pieces)


@dataclass(frozen=True, slots=True)
class ReliabilityWords:
    """The texts of a calibration plot: both axes, its title, and a point's probability, truth and cases."""

    across: str = "label: probability that reply A is better"
    up: str = "how often reply A was truly better"
    title: str = "Calibration of the AI labels, with 95 % intervals"
    probability: str = "label"
    truth: str = "A better"
    cases: str = "pairs"


def reliability(rows: Sequence[Mapping[str, Any]], words: ReliabilityWords | None = None) -> Markup | None:
    """A calibration plot: the mean probability of each bin (x), and how often it was right (y)."""
    if not rows:
        return None
    words = words or ReliabilityWords()
    frame = PlotFrame.of((460, 260), (0.0, 1.0), (0.0, 1.0), (28, 16, 46, 50))
    axes = frame.axes(words.across, words.up, number_marks(0, 1), percent_marks(0, 1))
    pieces = [axes, line((frame.x(0), frame.y(0)), (frame.x(1), frame.y(1)), "path")]
    most = max(row["n"] for row in rows)
    for row in rows:
        x, y = frame.x(row["p"]), frame.y(row["value"])
        says = (
            f"{words.probability} {probability(row['p'])}: {words.truth} in {percent(row['value'])} [{interval(row)}] "
            f"of {row['n']} {words.cases}"
        )
        whisker = line((x, frame.y(row["low"])), (x, frame.y(row["high"])), "whisker")
        dot = tag("circle", cx=x, cy=y, r=3 + 4 * math.sqrt(row["n"] / most), class_="dot")
        pieces.append(tag("g", tag("title", says), whisker, dot, class_="tone-3"))
    return frame.figure(words.title, *pieces)


def bar(share: Figures, class_: str) -> Markup:
    """A share as a thin bar from 0 to 100 % with its interval, for a table cell."""
    value, low, high = (100 * float(share[key]) for key in ("value", "low", "high"))
    return tag(
        "svg",
        tag("rect", x=0.0, y=3.0, width=100.0, height=4.0, class_="track"),
        tag("rect", x=0.0, y=3.0, width=value, height=4.0, class_="bar"),
        tag("rect", x=low, y=4.5, width=max(high - low, 0.5), height=1.0, class_="span"),
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        class_=f"share-bar {class_}",
        aria_hidden="true",
    )
