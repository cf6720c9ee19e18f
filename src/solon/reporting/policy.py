"""Reinforcement learning in figures: what the policy's snapshots replied, and what its reward cost in KL.

The first two follow the paper's curves over RL snapshots (section 4.4) and need `solon snapshots`; the third is drawn
from the metrics of every run (Bai et al. 2022a, section 4.3, found the reward about linear in the root of the KL).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from markupsafe import Markup

from solon.reporting.charts import Figures, spread
from solon.reporting.svg import PlotFrame, line, nice_domain, number_marks, percent_marks, polyline, tag, text
from solon.runs.training_rows import RlStepRow
from solon.stats.intervals import interval, percent

Steps = Mapping[str, Mapping[str, Figures]]
"""Measures of the snapshots by step (`solon.stages.extra_snapshots`)."""
_SHARES = ("garbled", "preachy", "evasive", "objecting", "helpful", "harmful", "good")
"""In the order in which they are drawn, the last on top."""
_STRONG = "good"
_SCORES = {"score": ("score", "tone-3"), "held_out_score": ("held-out", "tone-5")}
"""What scores are called in a figure, and their colours."""
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
            "A score that climbs on while good replies or the held-out score fall is over-optimised.",
            scores_by_snapshot(steps),
        ),
        (
            "Reward against \N{SQUARE ROOT}KL.",
            "About a straight line while all goes well; where it bends, more distance buys no more reward.",
            score_by_distance(metrics),
        ),
    )
    yield from (PolicyFigure(title, aid, picture) for title, aid, picture in drawn if picture is not None)


def shares_by_snapshot(steps: Steps) -> Markup | None:
    """The share of each label over the steps, with 95 % intervals; None for fewer than two rated snapshots."""
    courses = {name: _course(steps, name) for name in _SHARES}
    if len(courses[_STRONG]) < 2:
        return None
    frame = PlotFrame.of((460, 330), _domain(courses[_STRONG]), (0.0, 1.0), _MARGINS)
    pieces = [_axes(frame, "share of replies", percent_marks(0, 1))]
    ends = []
    for name, course in courses.items():
        if course:
            tint = f"label-{name} strong" if name == _STRONG else f"label-{name}"
            pieces.append(_line(frame, course, name, tint, _share_words))
            ends.append((frame.y(course[-1][1]["value"]), name, tint.split()[0]))
    return frame.figure("Replies by snapshot of the policy, with 95 % intervals", *pieces, *_names(frame, ends))


def scores_by_snapshot(steps: Steps) -> Markup | None:
    """Mean scores over the steps, with 95 % intervals; None for fewer than two scored snapshots."""
    courses = {name: _course(steps, name) for name in _SCORES}
    if len(courses["score"]) < 2:
        return None
    bounds = [figure[end] for course in courses.values() for _, figure in course for end in ("low", "high")]
    low, high = nice_domain(bounds)
    frame = PlotFrame.of((460, 330), _domain(courses["score"]), (low, high), _MARGINS)
    pieces = [_axes(frame, "mean score of replies, centred", number_marks(low, high))]
    ends = []
    for name, course in courses.items():
        if course:
            shown, tint = _SCORES[name]
            pieces.append(_line(frame, course, shown, tint, _score_words))
            ends.append((frame.y(course[-1][1]["value"]), shown, tint))
    return frame.figure("Scores by snapshot of the policy, with 95 % intervals", *pieces, *_names(frame, ends))


def score_by_distance(rows: Sequence[RlStepRow]) -> Markup | None:
    """Mean score of a step's replies (up) against the root of their mean KL to the reference (across).

    A dot is a step; the line joins means over stretches of steps, in their order. None for fewer than two steps.
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
                tag("title", f"{shown}: {y:+.2f} at {x:.2f}"),
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
    return frame.figure("Score against the root of the KL, by step", *pieces, *_names(frame, ends))


def _by_distance(pairs: Sequence[tuple[float | None, float | None]]) -> list[tuple[float, float]]:
    """The root of each KL with its score, where both are known and finite."""
    return [
        (math.sqrt(max(kl, 0.0)), score)
        for kl, score in pairs
        if kl is not None and score is not None and math.isfinite(kl + score)
    ]


def _course(steps: Steps, name: str) -> list[Placed]:
    return [(float(step), steps[step][name]) for step in sorted(steps, key=int) if name in steps[step]]


def _domain(course: Sequence[Placed]) -> tuple[float, float]:
    return course[0][0], course[-1][0]


def _axes(frame: PlotFrame, up: str, y_marks: Sequence[tuple[float, str]]) -> Markup:
    return frame.axes("step of reinforcement learning", up, number_marks(frame.x.low, frame.x.high), y_marks)


def _line(frame: PlotFrame, course: Sequence[Placed], name: str, tint: str, words: Callable[[Figures], str]) -> Markup:
    marks = [polyline([(frame.x(step), frame.y(figure["value"])) for step, figure in course], "series")]
    for step, figure in course:
        x, y = frame.x(step), frame.y(figure["value"])
        marks.append(line((x, frame.y(figure["low"])), (x, frame.y(figure["high"])), "whisker"))
        marks.append(
            tag("circle", tag("title", f"{name} at step {step:g}: {words(figure)}"), cx=x, cy=y, r=3.0, class_="dot")
        )
    return tag("g", *marks, class_=tint)


def _share_words(share: Figures) -> str:
    return f"{percent(share['value'])} [{interval(share)}] of {share['n']}"


def _score_words(mean: Figures) -> str:
    return f"{mean['value']:+.2f} [{mean['low']:+.2f} to {mean['high']:+.2f}] over {mean['n']}"


def _names(frame: PlotFrame, ends: Sequence[tuple[float, str, str]]) -> list[Markup]:
    """The names of lines at their right ends."""
    right = frame.x.end + 10
    return [text(right, y + 4, name, f"point-name {tint}") for y, name, tint in spread(ends, frame.y.start)]
