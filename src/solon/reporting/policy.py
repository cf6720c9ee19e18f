"""Plots of reinforcement learning: replies and scores of the policy's snapshots, and reward against KL.

The first two follow the paper's curves over RL snapshots (section 4.4) and need `solon snapshots`. The third uses the
metrics of every run (Bai et al. 2022a, section 4.3, find the reward about linear in the square root of the KL).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from markupsafe import Markup

from solon.reporting.charts import Figures, end_labels, series
from solon.reporting.svg import PlotFrame, nice_domain, number_marks, percent_marks, polyline, tag
from solon.runs.training_rows import RlStepRow
from solon.stats.intervals import interval, percent, signed, signed_interval

Steps = Mapping[str, Mapping[str, Figures]]
"""Measures of the snapshots by step (`solon.stages.extra_snapshots`)."""
_SHARES = ("garbled", "preachy", "evasive", "objecting", "helpful", "harmful", "good")
"""In drawing order; the last is on top."""
_STRONG = "good"
_SCORES = {"score": ("score", "tone-3"), "held_out_score": ("held-out", "tone-5")}
"""The names and colours of the scores."""
_STRETCHES = 12
_MARGINS = (30, 84, 46, 50)
Placed = tuple[float, Figures]


@dataclass(frozen=True, slots=True)
class PolicyFigure:
    """A figure with its title and a line on how to read it."""

    title: str
    aid: str
    picture: Markup


def policy_figures(figures: Mapping[str, Any], metrics: Sequence[RlStepRow]) -> Iterator[PolicyFigure]:
    """The figures that can be drawn from the run's results and the rows of stage 08."""
    steps: Steps = figures.get("snapshots", {}).get("steps", {})
    drawn = (
        (
            "Curves over RL snapshots.",
            "Replies to held-out prompts. Good: helpful; if harm is asked, not harmful, evasive, preachy or garbled.",
            shares_by_snapshot(steps),
        ),
        (
            "Scores of the snapshots.",
            "If a score rises while good replies or the held-out score fall, the policy is over-optimised.",
            scores_by_snapshot(steps),
        ),
        (
            "Reward against \N{SQUARE ROOT}KL.",
            "About a straight line in good training; where it flattens, more KL brings no more reward.",
            score_by_distance(metrics),
        ),
    )
    yield from (PolicyFigure(title, aid, picture) for title, aid, picture in drawn if picture is not None)


def shares_by_snapshot(steps: Steps) -> Markup | None:
    """The share of each label over the steps, with 95 % intervals; None for fewer than two rated snapshots."""
    curves = {name: _curve(steps, name) for name in _SHARES}
    if len(curves[_STRONG]) < 2:
        return None
    frame = PlotFrame.of((460, 330), _domain(curves[_STRONG]), (0.0, 1.0), _MARGINS)
    pieces = [_axes(frame, "share of replies", percent_marks(0, 1))]
    ends = []
    for name, curve in curves.items():
        if curve:
            tint = f"label-{name} strong" if name == _STRONG else f"label-{name}"
            pieces.append(_line(frame, curve, name, tint, _share_words))
            ends.append((frame.y(curve[-1][1]["value"]), name, tint.split()[0]))
    return frame.figure("Replies by snapshot of the policy, with 95 % intervals", *pieces, *end_labels(frame, ends))


def scores_by_snapshot(steps: Steps) -> Markup | None:
    """Mean scores over the steps, with 95 % intervals; None for fewer than two scored snapshots."""
    curves = {name: _curve(steps, name) for name in _SCORES}
    if len(curves["score"]) < 2:
        return None
    bounds = [figure[end] for curve in curves.values() for _, figure in curve for end in ("low", "high")]
    low, high = nice_domain(bounds)
    frame = PlotFrame.of((460, 330), _domain(curves["score"]), (low, high), _MARGINS)
    pieces = [_axes(frame, "mean score of replies, centred", number_marks(low, high))]
    ends = []
    for name, curve in curves.items():
        if curve:
            shown, tint = _SCORES[name]
            pieces.append(_line(frame, curve, shown, tint, _score_words))
            ends.append((frame.y(curve[-1][1]["value"]), shown, tint))
    return frame.figure("Scores by snapshot of the policy, with 95 % intervals", *pieces, *end_labels(frame, ends))


def score_by_distance(rows: Sequence[RlStepRow]) -> Markup | None:
    """Mean score of a step's replies (y) against the square root of their mean KL to the reference (x).

    A dot is a step; the line joins means over equal stretches of steps. None for fewer than two steps.
    """
    points = {
        "score": _by_distance([(row.kl, row.score) for row in rows]),
        "held_out_score": _by_distance([(row.kl, row.held_out_score) for row in rows]),
    }
    if len(points["score"]) < 2:
        return None
    x_high = nice_domain([0.0, *(x for x, _ in points["score"])])[1]
    low, high = nice_domain([y for places in points.values() for _, y in places])
    frame = PlotFrame.of((460, 330), (0.0, x_high), (low, high), _MARGINS)
    across, up = "\N{SQUARE ROOT}KL to the reference, in nats per reply", "mean score of a step's replies, centred"
    pieces = [frame.axes(across, up, number_marks(0.0, x_high), number_marks(low, high))]
    ends = []
    for name, places in points.items():
        if len(places) < 2:
            continue
        shown, tint = _SCORES[name]
        size = math.ceil(len(places) / _STRETCHES)
        stretches = [places[start : start + size] for start in range(0, len(places), size)]
        means = [(fmean(x for x, _ in part), fmean(y for _, y in part)) for part in stretches]
        dots = (
            tag(
                "circle",
                tag("title", f"{shown}: {signed(y)} at {x:.2f}"),
                cx=frame.x(x),
                cy=frame.y(y),
                r=2.2,
                class_="dot",
            )
            for x, y in places
        )
        joined = polyline([(frame.x(x), frame.y(y)) for x, y in means], "series")
        pieces.append(tag("g", *dots, joined, class_=tint))
        ends.append((frame.y(means[-1][1]), shown, tint))
    return frame.figure("Score against the square root of the KL, by step", *pieces, *end_labels(frame, ends))


def _by_distance(pairs: Sequence[tuple[float | None, float | None]]) -> list[tuple[float, float]]:
    """The square root of each KL with its score, for steps where both are finite."""
    return [
        (math.sqrt(max(kl, 0.0)), score)
        for kl, score in pairs
        if kl is not None and score is not None and math.isfinite(kl + score)
    ]


def _curve(steps: Steps, name: str) -> list[Placed]:
    return [(float(step), steps[step][name]) for step in sorted(steps, key=int) if name in steps[step]]


def _domain(curve: Sequence[Placed]) -> tuple[float, float]:
    return curve[0][0], curve[-1][0]


def _axes(frame: PlotFrame, up: str, y_marks: Sequence[tuple[float, str]]) -> Markup:
    return frame.axes("step of reinforcement learning", up, number_marks(frame.x.low, frame.x.high), y_marks)


def _line(frame: PlotFrame, curve: Sequence[Placed], name: str, tint: str, words: Callable[[Figures], str]) -> Markup:
    points = [(step, figure, f"{name} at step {step:g}: {words(figure)}") for step, figure in curve]
    return series(frame, points, tint, 3.0)


def _share_words(share: Figures) -> str:
    return f"{percent(share['value'])} [{interval(share)}] of {share['n']}"


def _score_words(mean: Figures) -> str:
    return f"{signed(mean['value'])} [{signed_interval(mean)}] over {mean['n']}"
