"""Which draws and labels an edit moved, and why the text of a revision or a label is another one.

Each changed row has one cause, the first that holds:

- another principle was drawn;
- the drawn principle was edited;
- the texts that it works on differ already: the reply before a revision, or the two replies of a pair;
- worked examples were edited;
- none of these: the same question got another answer, which happens with other rounding.

A label *flips* when both runs have it on the same two replies and they prefer different ones. Near one half a little
is enough for that, so flips of labels that were `CLEAR` in both runs are told apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from solon.constitution.diff import EditKind
from solon.feedback.soft_labels import axes_in
from solon.reporting.effect.comparable_runs import PREFERENCE, REVISION, ComparedRuns
from solon.reporting.samples import ratings
from solon.reporting.tracing.trace_parts import address
from solon.runs.rows import LabelRow, RevisionRow
from solon.runs.training_rows import EXAMPLES, PreferenceExampleRow, SftExampleRow
from solon.stages import plan
from solon.stats.intervals import Mean, mean
from solon.stats.paired import PairedDifference, paired_difference

CLEAR = 0.6
"""A label prefers a reply clearly when it gives it at least this probability."""


class ChangeCause(StrEnum):
    """Why a row of the new run is another than that of the old one."""

    DRAW = "by another draw"
    EDIT = "by the edited principle"
    BEFORE = "by other texts before it"
    EXAMPLES = "by edited worked examples"
    NEITHER = "by another answer to the same question"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawMove:
    """Draws that went from one principle to another."""

    old: str
    new: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipleShift:
    """One principle in both runs: its draws, and the rows that it drew in the new run and that are other ones."""

    id: str
    edit: EditKind | None
    draws_old: int
    draws_new: int
    changed: int
    causes: Mapping[str, int]
    flips: int = 0
    """Labels among them that flipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionChanges:
    """The revisions of both runs."""

    compared: int
    draws_moved: int
    moves: tuple[DrawMove, ...]
    critiques_changed: int
    changed: int
    """Revisions with another text."""
    causes: Mapping[str, int]
    by_principle: tuple[PrincipleShift, ...]
    last_step: int
    harmful: PairedDifference | None
    """The share of harmful replies after the last step, new minus old; None where no grader rated revisions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFlip:
    """A label that prefers another one of the same two replies."""

    row: str
    principle_old: str
    principle_new: str
    p_a_old: float
    p_a_new: float
    cause: ChangeCause

    @property
    def clear(self) -> bool:
        """Whether both labels prefer one reply clearly."""
        return all(max(p_a, 1 - p_a) >= CLEAR for p_a in (self.p_a_old, self.p_a_new))


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelChanges:
    """The labels of one round in both runs."""

    stage: str
    compared: int
    same_replies: int
    draws_moved: int
    moves: tuple[DrawMove, ...]
    decided: int
    """Labels that both runs have on the same two replies."""
    flips: tuple[LabelFlip, ...]
    newly_decided: int
    no_longer_decided: int
    moved: Mean | None
    """The mean absolute change of the probability, over labels on the same two replies."""
    by_principle: tuple[PrincipleShift, ...]

    @property
    def clear_flips(self) -> int:
        """Flips from one clear preference to the other."""
        return sum(flip.clear for flip in self.flips)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleChanges:
    """The training examples of one stage in both runs."""

    stage: str
    same: int
    changed: int
    only_old: int
    only_new: int


def revision_changes(runs: ComparedRuns) -> RevisionChanges | None:
    """The revisions of both runs, by row and step; None when one run has none."""
    pair = runs.both(plan.CRITIQUE_REVISION)
    if pair is None:
        return None
    olds, news = ({(row.row_id, row.step): row for row in each.rows(RevisionRow)} for each in pair)
    common = [(olds[key], news[key]) for key in olds if key in news]
    edited, examples = runs.edited(REVISION), runs.examples_edited("critique")
    changed = [
        (new.principle_id, _cause(old.principle_id, new.principle_id, edited, old.before != new.before, examples))
        for old, new in common
        if (old.completion, old.outcome) != (new.completion, new.outcome)
    ]
    last = max((new.step for _, new in common), default=0)
    return RevisionChanges(
        compared=len(common),
        draws_moved=sum(old.principle_id != new.principle_id for old, new in common),
        moves=_moves((old.principle_id, new.principle_id) for old, new in common),
        critiques_changed=sum(old.critique != new.critique for old, new in common),
        changed=len(changed),
        causes=_counted(cause for _, cause in changed),
        by_principle=_shifts(
            edited,
            [row.principle_id for row in olds.values()],
            [row.principle_id for row in news.values()],
            changed,
        ),
        last_step=last,
        harmful=_harm_after(runs, last),
    )


def _harm_after(runs: ComparedRuns, step: int) -> PairedDifference | None:
    measured = runs.both(plan.MEASURE)
    if measured is None:
        return None
    old, new = (
        {row.row_id: "harmful" in row.labels for row in ratings(each).revisions if row.step == step}
        for each in measured
    )
    return paired_difference((old[row_id], new[row_id]) for row_id in old if row_id in new)


def label_changes(runs: ComparedRuns) -> tuple[LabelChanges, ...]:
    """The labels of both runs, by round."""
    stages = [name for name in runs.new_stages if plan.out_of_round(name) == plan.AI_FEEDBACK]
    return tuple(_labels_of(runs, stage) for stage in stages if runs.both(stage) is not None)


def _labels_of(runs: ComparedRuns, stage: str) -> LabelChanges:
    pair = runs.both(stage)
    assert pair is not None
    olds, news = ({(row.row_id, row.pair): row for row in each.rows(LabelRow)} for each in pair)
    common = [(olds[key], news[key]) for key in olds if key in news]
    edited, examples = runs.edited(PREFERENCE), runs.examples_edited("comparison", "reasoned")
    same = [(old, new) for old, new in common if _replies(old) == _replies(new)]
    changed: list[tuple[str, ChangeCause]] = []
    flips: list[LabelFlip] = []
    for old, new in common:
        others = _replies(old) != _replies(new)
        if not others and old.p_a == new.p_a and old.principle_id == new.principle_id:
            continue
        cause = _cause(old.principle_id, new.principle_id, edited, others, examples)
        changed += [(id, cause) for id in _drawn(new)]
        if not others and old.p_a is not None and new.p_a is not None and (old.p_a - 0.5) * (new.p_a - 0.5) < 0:
            flips.append(
                LabelFlip(
                    row=address(stage, new.row_id, new.pair),
                    principle_old=old.principle_id,
                    principle_new=new.principle_id,
                    p_a_old=old.p_a,
                    p_a_new=new.p_a,
                    cause=cause,
                )
            )
    decided = [(old.p_a, new.p_a) for old, new in same if old.p_a is not None and new.p_a is not None]
    flipped = Counter(id for flip in flips for id in flip.principle_new.split(" + "))
    return LabelChanges(
        stage=stage,
        compared=len(common),
        same_replies=len(same),
        draws_moved=sum(old.principle_id != new.principle_id for old, new in common),
        moves=_moves((old.principle_id, new.principle_id) for old, new in common),
        decided=len(decided),
        flips=tuple(flips),
        newly_decided=sum(old.p_a is None and new.p_a is not None for old, new in same),
        no_longer_decided=sum(old.p_a is not None and new.p_a is None for old, new in same),
        moved=mean([abs(one - other) for one, other in decided]),
        by_principle=_shifts(
            edited,
            [id for row in olds.values() for id in _drawn(row)],
            [id for row in news.values() for id in _drawn(row)],
            changed,
            flipped,
        ),
    )


def _drawn(row: LabelRow) -> list[str]:
    return [axis.principle_id for axis in axes_in(row)]


def _replies(row: LabelRow) -> tuple[str, str]:
    return row.response_a, row.response_b


def _cause(old: str, new: str, edited: Mapping[str, EditKind], other_texts: bool, examples: bool) -> ChangeCause:
    """Why a row is another one; ids of several axes are joined by ` + `."""
    if old != new:
        return ChangeCause.DRAW
    if any(id in edited for id in new.split(" + ")):
        return ChangeCause.EDIT
    if other_texts:
        return ChangeCause.BEFORE
    return ChangeCause.EXAMPLES if examples else ChangeCause.NEITHER


def _moves(draws: Iterable[tuple[str, str]]) -> tuple[DrawMove, ...]:
    counts = Counter((old, new) for old, new in draws if old != new)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(DrawMove(old=old, new=new, count=count) for (old, new), count in ordered)


def _shifts(
    edited: Mapping[str, EditKind],
    old: Sequence[str],
    new: Sequence[str],
    changed: Sequence[tuple[str, ChangeCause]],
    flips: Mapping[str, int] | None = None,
) -> tuple[PrincipleShift, ...]:
    """The principles that were edited, or of which a row changed; the edited ones first, then by changed rows."""
    before, after = Counter(old), Counter(new)
    causes: dict[str, list[ChangeCause]] = {}
    for id, cause in changed:
        causes.setdefault(id, []).append(cause)
    ids = dict.fromkeys([*edited, *causes, *(id for id in before if before[id] != after[id])])
    shifts = [
        PrincipleShift(
            id=id,
            edit=edited.get(id),
            draws_old=before[id],
            draws_new=after[id],
            changed=len(causes.get(id, ())),
            causes=_counted(causes.get(id, ())),
            flips=(flips or {}).get(id, 0),
        )
        for id in ids
    ]
    return tuple(sorted(shifts, key=lambda shift: (shift.edit is None, -shift.flips, -shift.changed, shift.id)))


def _counted(causes: Iterable[ChangeCause]) -> dict[str, int]:
    counts = Counter(causes)
    return {cause.value: counts[cause] for cause in ChangeCause if counts[cause]}


def example_changes(runs: ComparedRuns) -> tuple[ExampleChanges, ...]:
    """The training examples of SL-CAI and of the preference models in both runs; earlier versions kept none."""
    found = []
    for name in runs.new_stages:
        pair = runs.both(name)
        if pair is None or any(EXAMPLES not in each.manifest.files for each in pair):
            continue
        if plan.out_of_round(name) == plan.SL_CAI:
            tables = [
                {_learnt(row): row.completion for row in each.rows(SftExampleRow, file=EXAMPLES)} for each in pair
            ]
        else:
            tables = [
                {_preferred(row): f"{row.chosen}\0{row.rejected}\0{row.p_chosen!r}"
                 for row in each.rows(PreferenceExampleRow, file=EXAMPLES)} for each in pair
            ]  # fmt: skip
        old, new = tables
        common = old.keys() & new.keys()
        found.append(
            ExampleChanges(
                stage=name,
                same=sum(old[key] == new[key] for key in common),
                changed=sum(old[key] != new[key] for key in common),
                only_old=len(old.keys() - new.keys()),
                only_new=len(new.keys() - old.keys()),
            )
        )
    return tuple(found)


def _learnt(row: SftExampleRow) -> tuple[object, ...]:
    return row.row_id, row.stage, row.step, row.sample


def _preferred(row: PreferenceExampleRow) -> tuple[object, ...]:
    return row.row_id, row.source, row.pair, row.line
