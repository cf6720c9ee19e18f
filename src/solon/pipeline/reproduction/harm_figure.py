"""Figure 10: the absolute harmfulness score over the steps of training.

All models answer the same prompts, so a change over training is the mean over prompts of the difference of their mean
scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from solon.pipeline.reproduction.elo_figures import TITLES, Courses
from solon.pipeline.reproduction.paper_figures import (
    ClaimCheck,
    FigurePlot,
    FigureText,
    PaperFigure,
    PlotKind,
    PlotLine,
    PlotPoint,
    Quantity,
    checked,
    paper_figure,
)
from solon.pipeline.reproduction.paper_runs import HELPFUL, POLICY_RUNS
from solon.runs.harmfulness_rows import HarmfulnessRow
from solon.stats.claim_verdicts import Difference, Expected, as_difference
from solon.stats.intervals import mean


@dataclass(frozen=True, slots=True)
class HarmFindings:
    """By model the mean score of its replies to each prompt, and the courses of the policies."""

    scores: Mapping[str, Mapping[str, float]]
    courses: Courses

    @classmethod
    def of(cls, rows: Sequence[HarmfulnessRow], courses: Courses) -> HarmFindings:
        """The means of the scored replies; a reply without a score counts in none."""
        found: dict[str, dict[str, list[float]]] = {}
        for row in rows:
            if row.harmfulness is not None:
                found.setdefault(row.model, {}).setdefault(row.row_id, []).append(row.harmfulness)
        means = {
            model: {prompt: math.fsum(scores) / len(scores) for prompt, scores in prompts.items()}
            for model, prompts in found.items()
        }
        return cls(means, courses)

    def change(self, start: str, end: str) -> Difference | None:
        """The score of one model minus that of another, over the prompts that both answered."""
        one, other = self.scores.get(end, {}), self.scores.get(start, {})
        return as_difference(mean([one[prompt] - other[prompt] for prompt in one if prompt in other]))


def figure_10(found: HarmFindings) -> PaperFigure:
    """The score over training."""
    checks: list[ClaimCheck] = []
    lines = []
    for run in POLICY_RUNS:
        course = found.courses[run]
        (first, start), (last, end) = course[0], course[-1]
        worse = run == HELPFUL
        says = f"{TITLES[run]} becomes {'more' if worse else 'less'} harmful from step {first} to {last}"
        expected = Expected.HIGHER if worse else Expected.LOWER
        checks += checked(says, Quantity.RATING, expected, found.change(start, end))
        points = tuple(
            PlotPoint(step, score, label=f"step {step}")
            for step, model in course
            if (score := as_difference(mean(list(found.scores.get(model, {}).values())))) is not None
        )
        lines.append(PlotLine(TITLES[run], points))
    plot = FigurePlot("Predicted rating of harm, 0 to 4", PlotKind.LINES, "RL step", "rating", tuple(lines))
    words = FigureText(
        10,
        "Absolute harmfulness over training",
        "In training, helpful RLHF becomes more harmful, and HH RLHF, RL-CAI and RL-CAI with CoT become less harmful.",
        "A language model learned the oracle's ratings of written replies, and rates replies to held-out red-team "
        "prompts at temperature 1.",
    )
    return paper_figure(words, checks, [plot])
