"""The effect of an edit: everything that two comparable runs say about it, and its sentences.

A sentence claims a change only where the paired 95 % interval excludes zero; by topic there are many intervals, and
some exclude zero by chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from solon.constitution.diff import Change
from solon.reporting.effect.behaviour_change import MAIN, BehaviourChanges, MeasureChange, behaviour_changes
from solon.reporting.effect.changed_replies import ChangedReplies, changed_replies
from solon.reporting.effect.comparable_runs import ComparedRuns, compared_runs
from solon.reporting.effect.edit_cost import EditCost, edit_cost
from solon.reporting.effect.row_changes import (
    ExampleChanges,
    LabelChanges,
    RevisionChanges,
    example_changes,
    label_changes,
    revision_changes,
)
from solon.reporting.visible_text import duration
from solon.runs import RunDirectory
from solon.runs.rows import PromptKind
from solon.stats.intervals import ONE_CASE, Mean, percent
from solon.stats.paired import PairedDifference

ABOUT: Mapping[PromptKind, str] = {
    PromptKind.HELD_OUT_HARMFUL: "held-out harmful prompts",
    PromptKind.HELD_OUT_BENIGN: "held-out benign prompts",
    PromptKind.RED_TEAM: "red-team prompts",
    PromptKind.HELPFUL: "helpfulness prompts",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EditEffect:
    """What an edit of the constitution changed, as far as both runs are finished."""

    old: str
    new: str
    """The folders of the runs."""
    constitution_old: str
    constitution_new: str
    """Name and hash."""
    edits: tuple[Change, ...]
    revisions: RevisionChanges | None
    labels: tuple[LabelChanges, ...]
    examples: tuple[ExampleChanges, ...]
    behaviour: BehaviourChanges | None
    replies: ChangedReplies | None
    cost: EditCost
    remarks: tuple[str, ...]


def effect_of(old: RunDirectory, new: RunDirectory, model: str | None = None) -> EditEffect:
    """Compare two runs that differ in their constitution; `model` names whose changed replies are listed.

    Raises RunError, naming what differs, for runs that are not comparable, and for an unknown model.
    """
    runs: ComparedRuns = compared_runs(old, new)
    return EditEffect(
        old=str(old.path),
        new=str(new.path),
        constitution_old=_named(old),
        constitution_new=_named(new),
        edits=runs.edits,
        revisions=revision_changes(runs),
        labels=label_changes(runs),
        examples=example_changes(runs),
        behaviour=behaviour_changes(runs),
        replies=changed_replies(runs, model),
        cost=edit_cost(runs),
        remarks=runs.remarks,
    )


def _named(run: RunDirectory) -> str:
    return f"{run.constitution.name} {run.constitution.hash[:8]}"


def headline(effect: EditEffect) -> Iterator[str]:
    """The effect in a few sentences: the edit, what the final model does, draws and labels, and the cost."""
    yield edit_sentence(effect)
    yield from _behaviour(effect)
    if (found := effect.revisions) is not None:
        yield (
            f"Of {found.compared:,} revisions, {found.changed:,} have another text and {found.draws_moved:,} drew "
            "another principle."
        )
    for labels in effect.labels:
        yield labels_sentence(labels)
    yield cost_sentence(effect.cost)


def edit_sentence(effect: EditEffect) -> str:
    """What was edited, counted."""
    if not effect.edits:
        return "The constitutions are the same."
    counts = Counter((each.section, each.edit.value) for each in effect.edits)
    named: dict[tuple[str, str], list[str]] = {}
    for each in effect.edits:
        named.setdefault((each.section, each.edit.value), []).append(each.id)
    parts = []
    for (section, edit), count in counts.items():
        ids = ", ".join(id for id in named[section, edit][:4] if id)
        more = f" and {count - 4} more" if count > 4 else ""
        parts.append(f"{section}{'s' if count > 1 else ''}{f' {ids}{more}' if ids else ''} {edit}")
    return f"The edit: {'; '.join(parts)}."


def _behaviour(effect: EditEffect) -> Iterator[str]:
    behaviour = effect.behaviour
    if behaviour is None:
        yield "One of the runs has measured nothing yet, so it is not known what its models do."
        return
    by = f", by {behaviour.graded_by}" if (behaviour.graded_by or "").startswith("the judge") else ""
    for final in behaviour.models[-1:]:
        if not final.changed:
            yield f"All {final.replies:,} replies of {final.model} to held-out prompts are the same as before."
            return
        for each in behaviour.of(final.model):
            if each.measure in MAIN:
                yield change_sentence(each, by)
        yield (
            f"Of {final.replies:,} replies of {final.model} to held-out prompts, {final.changed:,} have another text."
        )
    if behaviour.graded_by is None:
        yield "The runs have no grader, so it is not known whether the replies are more or less harmful."


def change_sentence(change: MeasureChange, by: str = "") -> str:
    """One measure of one model before and after."""
    verdict = clear_change(change.difference) or "show no clear change"
    return (
        f"On {change.difference.n:,} {ABOUT[change.prompts]}{by}, {change.measure} replies of {change.model} "
        f"{verdict}: {percent(change.old.value)} before, {percent(change.new.value)} after, "
        f"{points(change.difference)}."
    )


def clear_change(difference: PairedDifference | Mean) -> str | None:
    """`fell` or `rose` where the interval excludes zero, else None."""
    if isinstance(difference, Mean) and not difference.has_interval:
        return None
    if difference.high < 0:
        return "fell"
    return "rose" if difference.low > 0 else None


def points(difference: PairedDifference | Mean) -> str:
    """A difference of shares with its interval, in percentage points: `-2.0 points [-9.1 to +5.0]`."""
    # Without `+ 0.0` a rounded zero could show a minus.
    value, low, high = (
        f"{round(100 * each, 1) + 0.0:+.1f}" for each in (difference.value, difference.low, difference.high)
    )
    one_case = isinstance(difference, Mean) and not difference.has_interval
    return f"{value} points [{ONE_CASE if one_case else f'{low} to {high}'}]"


def labels_sentence(labels: LabelChanges) -> str:
    """How many labels of one stage flipped."""
    where = f" ({labels.stage})" if labels.stage != "ai-feedback" else ""
    clear = f", {labels.clear_flips:,} of them from one clear preference to the other" if labels.flips else ""
    return (
        f"Of {labels.decided:,} labels on the same two replies{where}, {len(labels.flips):,} flipped{clear}; "
        f"{labels.compared - labels.same_replies:,} of {labels.compared:,} pairs have other replies, and "
        f"{labels.draws_moved:,} drew another principle."
    )


def cost_sentence(cost: EditCost) -> str:
    """What the new run cost."""
    share = (
        "" if cost.share is None else f", {percent(cost.share)} of {duration(cost.seconds_from_nothing)} from nothing"
    )
    questions = f" and asked {cost.asked:,} of {cost.questions:,} questions" if cost.questions else ""
    return (
        f"The new run took {duration(cost.seconds)}{share}: it reused {cost.taken_over} of {len(cost.stages)} "
        f"stages{questions}."
    )
