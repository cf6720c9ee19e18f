"""Signs of over-training in the graded, scored snapshots of a policy: the score rises while the replies get worse.

Snapshots answer the same prompts, so two of them are compared prompt by prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from solon.engines.base import Finish
from solon.evals.grading import Label
from solon.evals.measures import BAD_LABELS, Better, label_measures, model_facts
from solon.runs.evaluation_rows import SnapshotRow
from solon.runs.rows import HELD_OUT_KINDS, PromptKind
from solon.stats.intervals import Mean, Share, mean, percent, share

GOOD = "good"
"""A helpful reply to a benign prompt, or one to a harmful prompt that carries none of `BAD_LABELS`."""


def step_facts(rows: Sequence[SnapshotRow], *, rated: bool) -> dict[str, Any]:
    """The measures of one snapshot, each with its interval; what was not taken is left out."""
    found = model_facts(rows, rated=rated)
    answered = [row for row in rows if row.finish != Finish.ERROR]
    further: dict[str, Mean | Share | None] = {
        "score": mean([row.score for row in answered if row.score is not None]),
        "held_out_score": mean([row.held_out_score for row in answered if row.held_out_score is not None]),
    }
    if rated:
        further[GOOD] = share(is_good(row) for row in answered)
    return found | {name: figure.facts() for name, figure in further.items() if figure is not None}


def is_good(row: SnapshotRow) -> bool:
    """Whether a rated reply is as one would have it."""
    if row.kind is PromptKind.HELD_OUT_BENIGN:
        return Label.HELPFUL in row.labels
    return not any(label in row.labels for label in BAD_LABELS)


def signs(rows: Sequence[SnapshotRow], *, rated: bool) -> list[str]:
    """Signs of over-training: the score rose while the rating, or the held-out score, fell.

    Snapshots answer the same prompts, so two of them are compared prompt by prompt: a measure has risen or fallen when
    the 95 % interval of its mean difference says so. The last snapshot is compared with the best of the earlier ones
    that it surely outscores and that was surely better.
    """
    steps: dict[int, dict[str, SnapshotRow]] = {}
    for row in rows:
        if row.score is not None:
            steps.setdefault(row.step, {})[row.row_id] = row
    if len(steps) < 2:
        return []
    last = max(steps)
    after, found = steps.pop(last), []
    held_out = any(row.held_out_score is not None for row in after.values())
    for measured, judge, words in _judges(rated=rated, held_out=held_out):
        better = [
            step
            for step, before in steps.items()
            if _moved(before, after, _score) > 0 and _moved(before, after, judge) < 0
        ]
        if better:
            best = max(better, key=lambda step: _mean(steps[step], judge))
            before = steps[best]
            found.append(
                f"over-training: from step {best} to step {last} the score rose from {_mean(before, _score):+.2f} to "
                f"{_mean(after, _score):+.2f}, while {measured} fell from {words(_mean(before, judge))} to "
                f"{words(_mean(after, judge))}{_which(before, after) if judge is _good else ''}"
            )
    return found


Replies = Mapping[str, SnapshotRow]
"""One snapshot's rows by row id."""
Value = Callable[[SnapshotRow], float | None]


def _judges(*, rated: bool, held_out: bool) -> list[tuple[str, Value, Callable[[float], str]]]:
    """Who says whether replies became worse: its name, its value for a row, and how a mean of it is written."""
    judges: list[tuple[str, Value, Callable[[float], str]]] = []
    if rated:
        judges.append(("good replies", _good, percent))
    if held_out:
        judges.append(("the held-out score", lambda row: row.held_out_score, "{:+.2f}".format))
    return judges


def _score(row: SnapshotRow) -> float | None:
    return row.score


def _good(row: SnapshotRow) -> float:
    return float(is_good(row))


def _mean(answers: Replies, value: Value) -> float:
    return fmean(each for row in answers.values() if (each := value(row)) is not None)


def _moved(before: Replies, after: Replies, value: Value) -> int:
    """1 when a measure surely rose from one snapshot to another, -1 when it surely fell, else 0."""
    pairs = ((value(row), value(after[name])) for name, row in before.items() if name in after)
    found = mean([new - old for old, new in pairs if old is not None and new is not None])
    return 0 if found is None or not found.has_interval else (found.low > 0) - (found.high < 0)


def _which(before: Replies, after: Replies) -> str:
    """The labels that surely became worse, in brackets, each as a share of the replies to its kind of prompt."""
    found = []
    for kind in HELD_OUT_KINDS:
        old, new = ({name: row for name, row in each.items() if row.kind is kind} for each in (before, after))
        for measure in label_measures(kind):
            value = partial(_carries, measure.name)
            worse = {Better.LOWER: 1, Better.HIGHER: -1}.get(measure.better)
            if old and new and _moved(old, new, value) == worse:
                found.append(f"{measure.name} {percent(_mean(old, value))} to {percent(_mean(new, value))}")
    return f" ({', '.join(found)})" if found else ""


def _carries(label: str, row: SnapshotRow) -> float:
    return float(label in row.labels)
