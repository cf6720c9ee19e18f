"""From a principle forward: what it was drawn for, which replies and labels it changed, and who learned from it.

A run judges a pair by one principle on each axis, so what another would have said was not asked, and nothing of it is
made up. What is counted instead is exact:

- `next_in_draw`: the principle that each of its draws would have given without it. The draw is repeated.
- `wins`: of the pairs that it decided and of which the grader calls exactly one reply harmful, the share in which its
  label prefers the harmless one; `others_win` is the same for the pairs of all other principles.
- a *flip*: a label of this principle that goes against the other principles. Pairs are alike when the grader gives
  their two replies the same two sets of labels. A label flips when, of the pairs that are alike and that other
  principles decided (at least `LEAST_OTHERS`), more than half prefer the other kind of reply.
- an *axis flip*: where a pair has several axes, its label without this axis prefers the other reply.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from solon.evals.earlier_tables import a_better
from solon.feedback.soft_labels import axes_in, mean_probability
from solon.reporting.samples import Ratings
from solon.reporting.tracing.trace_parts import address
from solon.reporting.tracing.trace_principles import RunPrinciples
from solon.runs.evaluation_rows import PairRating
from solon.runs.rows import LabelRow, RevisionRow
from solon.runs.training_rows import PreferenceExampleRow, SftExampleRow
from solon.stats.intervals import Mean, Share, mean, wilson

LEAST_OTHERS = 5
"""Pairs of other principles that a label is compared with, at least."""
Kind = tuple[str, ...]
"""The grader's labels of a reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelChange:
    """Revisions that turn a reply with some of the grader's labels into one with others."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleReach:
    """Training examples that come from a principle, among all of the stage."""

    stage: str
    examples: int
    held_out: int
    of: int
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionReach:
    """What a revision principle changed."""

    draws: int
    of: int
    """All steps of the run."""
    by_step: Mapping[str, int]
    next_in_draw: Mapping[str, int] | None
    """None where the draws were not repeated."""
    outcomes: Mapping[str, int]
    rewritten: int
    """Revisions with another text than the reply before."""
    mended: Share | None
    """Harmful replies that its revisions made harmless; None where no grader rated revisions."""
    spoiled: Share | None
    """Harmless replies that its revisions made harmful."""
    label_changes: tuple[LabelChange, ...]
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceReach:
    """What a preference principle changed."""

    draws: int
    of: int
    """All draws of the run: pairs times axes."""
    next_in_draw: Mapping[str, int] | None
    decided: int
    confidence: Mean | None
    wins: Share | None
    others_win: Share | None
    compared: int
    """Its labels that have enough pairs of other principles to compare with."""
    flips: tuple[str, ...]
    """The addresses of its labels that go against the other principles."""
    axis_flips: tuple[str, ...] | None
    """None where pairs have one axis."""
    chose_revisions: int
    """Comparisons of candidate revisions that it decided."""
    rows: tuple[str, ...]


class Repetition(StrEnum):
    """Whether draws are repeated, to know what they would be without a principle."""

    EVERY_DRAW = "every draw"
    NONE = "none"


def revision_reach(
    principles: RunPrinciples,
    id: str,
    rows: Sequence[RevisionRow],
    ratings: Ratings,
    stage: str,
    repetition: Repetition = Repetition.EVERY_DRAW,
) -> RevisionReach:
    """What the steps in which a revision principle was drawn came to; `rows` are all steps of the run."""
    own = [row for row in rows if row.principle_id == id]
    labels = {(each.row_id, each.step): each.labels for each in ratings.revisions}
    changes = [
        (before, after)
        for row in own
        if (before := labels.get((row.row_id, row.step - 1))) is not None
        and (after := labels.get((row.row_id, row.step))) is not None
    ]
    following = (principles.next_for_revision(id, row.row_id, row.step) for row in own)
    moved = Counter((before, after) for before, after in changes if before != after)
    return RevisionReach(
        draws=len(own),
        of=len(rows),
        by_step=dict(sorted(counted_by(str(row.step) for row in own).items(), key=lambda item: int(item[0]))),
        next_in_draw=_counted_next(following, repetition),
        outcomes=counted_by(row.outcome.value for row in own),
        rewritten=sum(row.outcome.value == "ok" and row.completion != row.before for row in own),
        mended=_became(changes, harmful=True),
        spoiled=_became(changes, harmful=False),
        label_changes=tuple(
            LabelChange(before=before, after=after, count=count) for (before, after), count in moved.most_common()
        ),
        rows=tuple(address(stage, row.row_id, row.step) for row in own),
    )


def _became(changes: Iterable[tuple[Kind, Kind]], *, harmful: bool) -> Share | None:
    """Of the replies that were harmful, or were not, the share that is the other after the revision."""
    turned = [("harmful" in after) is not harmful for before, after in changes if ("harmful" in before) is harmful]
    return wilson(sum(turned), len(turned)) if turned else None


def preference_reach(
    principles: RunPrinciples,
    id: str,
    rows: Sequence[tuple[str, LabelRow]],
    ratings: Ratings,
    revisions: Sequence[RevisionRow] = (),
    repetition: Repetition = Repetition.EVERY_DRAW,
) -> PreferenceReach:
    """What the pairs that a preference principle judged came to; `rows` are all labels with the stage of each."""
    graded = {(each.row_id, each.pair): each for each in ratings.pairs}
    drawn = [_Drawn(stage, row, axis.axis, axis.principle_id, axis.p_a) for stage, row in rows for axis in axes_in(row)]
    own = [each for each in drawn if each.principle_id == id]
    others = [each for each in drawn if each.principle_id != id]
    following = (principles.next_for_label(id, each.axis, each.row.row_id, each.row.pair) for each in own)
    compared, flipped = _flips(own, others, graded)
    several = any(len(row.axes) > 1 for _, row in rows)
    labels = [each.p_a for each in own if each.p_a is not None]
    return PreferenceReach(
        draws=len(own),
        of=len(drawn),
        next_in_draw=_counted_next(following, repetition),
        decided=len(labels),
        confidence=mean([max(p, 1 - p) for p in labels]),
        wins=_wins(own, graded),
        others_win=_wins(others, graded),
        compared=compared,
        flips=tuple(each.address for each in flipped),
        axis_flips=tuple(each.address for each in own if _axis_flips(each)) if several else None,
        chose_revisions=sum(row.chosen_by == id for row in revisions),
        rows=tuple(each.address for each in own),
    )


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A pair with one of the principles that it was judged by, and that label."""

    stage: str
    row: LabelRow
    axis: str
    principle_id: str
    p_a: float | None

    @property
    def address(self) -> str:
        return address(self.stage, self.row.row_id, self.row.pair)

    def kinds(self, graded: Mapping[tuple[str, int], PairRating]) -> tuple[Kind, Kind] | None:
        """The grader's labels of the preferred reply and of the other; None where there is no such order."""
        rated = graded.get((self.row.row_id, self.row.pair))
        if rated is None or self.p_a is None or self.p_a == 0.5 or rated.a == rated.b:
            return None
        return (rated.a, rated.b) if self.p_a > 0.5 else (rated.b, rated.a)


def _wins(drawn: Iterable[_Drawn], graded: Mapping[tuple[str, int], PairRating]) -> Share | None:
    right = []
    for each in drawn:
        rated = graded.get((each.row.row_id, each.row.pair))
        truth = a_better(rated.a, rated.b) if rated is not None else None
        if truth is not None and each.p_a is not None:
            right.append(each.p_a > 0.5 if truth else each.p_a < 0.5)
    return wilson(sum(right), len(right)) if right else None


def _flips(
    own: Iterable[_Drawn], others: Iterable[_Drawn], graded: Mapping[tuple[str, int], PairRating]
) -> tuple[int, list[_Drawn]]:
    """How many labels have enough others to compare with, and those that most of the others contradict."""
    preferred = Counter(kinds for each in others if (kinds := each.kinds(graded)) is not None)
    compared, flipped = 0, []
    for each in own:
        if (kinds := each.kinds(graded)) is None:
            continue
        same, against = preferred[kinds], preferred[kinds[::-1]]
        if same + against >= LEAST_OTHERS:
            compared += 1
            flipped += [each] if against > same else []
    return compared, flipped


def _axis_flips(drawn: _Drawn) -> bool:
    row = drawn.row
    rest = [(axis.p_a, axis.weight) for axis in row.axes if axis.axis != drawn.axis]
    known = [(p, weight) for p, weight in rest if p is not None]
    if row.p_a is None or not known or len(known) < len(rest):
        return False
    without = mean_probability([p for p, _ in known], [weight for _, weight in known])
    return (row.p_a - 0.5) * (without - 0.5) < 0


def supervised_examples(stage: str, id: str, rows: Sequence[SftExampleRow]) -> ExampleReach:
    """The training examples of SL-CAI that a revision principle led to."""
    own = [row for row in rows if row.principle_id == id]
    addresses = (address(stage, row.row_id, row.sample if row.step is None else row.step) for row in own)
    return _examples(stage, [row.held_out for row in own], len(rows), addresses)


def preference_examples(stage: str, id: str, rows: Sequence[PreferenceExampleRow]) -> ExampleReach:
    """The training examples of a preference model that a preference principle led to."""
    own = [row for row in rows if row.pair is not None and id in (row.principle_id or "").split(" + ")]
    addresses = (address(stage, row.row_id, row.pair) for row in own)
    return _examples(stage, [row.held_out for row in own], len(rows), addresses)


def _examples(stage: str, held_out: Sequence[bool], of: int, rows: Iterable[str]) -> ExampleReach:
    return ExampleReach(
        stage=stage, examples=len(held_out) - sum(held_out), held_out=sum(held_out), of=of, rows=tuple(rows)
    )


def _counted_next(following: Iterable[str | None], repetition: Repetition) -> dict[str, int] | None:
    """How often each principle comes next; the draws are repeated as this is counted."""
    if repetition is Repetition.NONE:
        return None
    return counted_by(each for each in following if each is not None)


def counted_by(names: Iterable[str]) -> dict[str, int]:
    """How often each name occurs, the most frequent first, then by name."""
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))


def worked_arrangements(principles: RunPrinciples, id: str) -> tuple[int, int]:
    """In how many arrangements of worked comparisons a preference principle stands, and how many there are."""
    plan = principles.plan
    if plan is None:
        return 0, 0
    arrangements: Iterator[set[str]] = (
        iter([{principle.id for _, principle in plan.reasoned}])
        if plan.reasoned is not None
        else ({principle.id for _, principle, _ in shots} for shots in plan.variants)
    )
    found = [names for names in arrangements if names]
    return sum(id in names for names in found), len(found)
