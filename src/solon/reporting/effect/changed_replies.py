"""The replies that an edit changed most: by labels first, then by text.

The replies are those of one model to held-out prompts, or, where the runs have measured nothing yet, the last revisions
of the red-team prompts. Their order is: how many labels the reply gained or lost; then the distance of the texts, one
minus the share of words that a longest common matching keeps (`difflib`); then the row id, so that it never varies.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from solon.config.located_yaml import suggestion
from solon.conversation import Conversation
from solon.errors import RunError
from solon.reporting.effect.comparable_runs import ComparedRuns
from solon.reporting.samples import ratings
from solon.reporting.tracing.trace_parts import address
from solon.runs.evaluation_rows import AnswerRow
from solon.runs.outcome import Outcome
from solon.runs.rows import PromptKind, RevisionRow
from solon.stages import plan

MOST = 20
"""Replies that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedReply:
    """A reply of both runs to one prompt."""

    row: str
    """Its address in a trace."""
    kind: PromptKind
    topic: str | None
    prompt: Conversation
    old: str
    new: str
    labels_old: tuple[str, ...]
    labels_new: tuple[str, ...]
    distance: float
    """From 0 for the same words to 1 for no word in common."""

    @property
    def labels_moved(self) -> int:
        """Labels that the reply gained or lost."""
        return len(set(self.labels_old) ^ set(self.labels_new))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedReplies:
    """The replies that changed most, and how many there are in all."""

    of: str
    """The model, or the step of the revisions."""
    compared: int
    changed: int
    labels_changed: int
    most: tuple[ChangedReply, ...]


def changed_replies(runs: ComparedRuns, model: str | None = None) -> ChangedReplies | None:
    """The replies of `model`, the final policy when None, that changed most; None where nothing can be compared.

    Raises RunError, naming the nearest, for a model that the runs have not both measured.
    """
    measured = runs.both(plan.MEASURE)
    if measured is None:
        if model is not None:
            cause = "the runs have not both measured their models, so no model's replies are there"
            raise RunError(cause, place=str(runs.new.path), remedy=f"Continue with: solon run {runs.new.path}")
        return _changed_revisions(runs)
    old, new = ({(row.model, row.kind, row.row_id): row for row in each.rows(AnswerRow)} for each in measured)
    common = [(old[key], row) for key, row in new.items() if key in old]
    models = list(dict.fromkeys(row.model for _, row in common))
    if model is not None and model not in models:
        cause = f"no model '{model}' was measured in both runs"
        raise RunError(cause, place=str(runs.new.path), remedy=suggestion(model, models))
    chosen = model or models[-1]
    return _most(
        chosen,
        (
            _changed(
                address(plan.MEASURE, row.row_id, row.model),
                row.kind,
                row.group,
                row.prompt,
                (before.completion, row.completion),
                (before.labels, row.labels),
            )
            for before, row in common
            if row.model == chosen
        ),
    )


def _changed_revisions(runs: ComparedRuns) -> ChangedReplies | None:
    pair = runs.both(plan.CRITIQUE_REVISION)
    if pair is None:
        return None
    old, new = ({(row.row_id, row.step): row for row in each.rows(RevisionRow)} for each in pair)
    last = max((step for _, step in new), default=0)
    labels = [
        {(each.row_id, each.step): each.labels for each in ratings(stages.get(plan.MEASURE)).revisions}
        for stages in (runs.old_stages, runs.new_stages)
    ]
    return _most(
        f"revision {last}",
        (
            _changed(
                address(plan.CRITIQUE_REVISION, row.row_id, row.step),
                PromptKind.RED_TEAM,
                None,
                row.prompt,
                (_text(old[key]), _text(row)),
                (labels[0].get(key, ()), labels[1].get(key, ())),
            )
            for key, row in new.items()
            if key in old and row.step == last
        ),
    )


def _text(row: RevisionRow) -> str:
    """The reply after a step; a failed one leaves it as it was."""
    return row.completion if row.outcome is Outcome.OK else row.before


def _changed(
    row: str,
    kind: PromptKind,
    topic: str | None,
    prompt: Conversation,
    texts: tuple[str, str],
    labels: tuple[tuple[str, ...], tuple[str, ...]],
) -> ChangedReply:
    return ChangedReply(
        row=row,
        kind=kind,
        topic=topic,
        prompt=prompt,
        old=texts[0],
        new=texts[1],
        labels_old=labels[0],
        labels_new=labels[1],
        distance=distance(*texts),
    )


def _most(of: str, replies: Iterable[ChangedReply]) -> ChangedReplies:
    compared = list(replies)
    changed = [each for each in compared if each.distance > 0 or each.labels_moved]
    ordered = sorted(changed, key=lambda each: (-each.labels_moved, -each.distance, each.row))
    return ChangedReplies(
        of=of,
        compared=len(compared),
        changed=len(changed),
        labels_changed=sum(each.labels_moved > 0 for each in compared),
        most=tuple(ordered[:MOST]),
    )


def distance(old: str, new: str) -> float:
    """How far two texts are apart, by words."""
    if old == new:
        return 0.0
    return 1 - difflib.SequenceMatcher(None, old.split(), new.split(), autojunk=False).ratio()
