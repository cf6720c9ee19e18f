"""The samples in the report: revision chains, labelled pairs, and the replies of all models to one prompt.

All samples are on the page, a few at a time. Their order follows from the digests of their rows, so the report of a run
is always the same and does not begin with the best cases. Among the first `FIRST` are up to `RARE` rows of every bad
outcome, because readers look for these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from solon.constitution.constitution import Constitution
from solon.conversation import Conversation, Role
from solon.digest import digest
from solon.evals.grading import RATINGS
from solon.feedback.soft_labels import axes_in
from solon.reporting.visible_text import TextPiece, changes, clip
from solon.runs import Artefact
from solon.runs.evaluation_rows import AnswerRow, PairRating, RevisionRating
from solon.runs.outcome import Outcome
from solon.runs.records import from_record
from solon.runs.rows import LabelRow, PromptKind, ReplyRow, RevisionRow
from solon.stats.intervals import probability, signed

FIRST = 60
"""How many samples of a kind come first, bad outcomes among them."""
MOST = 20_000
"""Maximum samples of one kind; the table has all rows of a larger run."""
RARE = 4
"""Samples of each outcome other than ok that are always among the first."""


@dataclass(frozen=True, slots=True)
class Said:
    """One turn of a prompt."""

    who: str
    words: str


@dataclass(frozen=True, slots=True)
class Version:
    """A reply or a revision, with the principle and the critique that led to it."""

    title: str
    words: tuple[TextPiece, ...]
    labels: tuple[str, ...] = ()
    outcome: str = "ok"
    finish: str = ""
    principle_id: str = ""
    principle: str = ""
    critique: str | None = None
    critique_outcome: str = "ok"


@dataclass(frozen=True, slots=True)
class TracedText:
    """One text of a sample: the stage and the address of its row, who wrote it, and its seed."""

    title: str
    stage: str
    address: str
    written_by: str
    seed: str


@dataclass(frozen=True, slots=True)
class SampleTrace:
    """Where a sample comes from, with links within the page."""

    source: str
    texts: tuple[TracedText, ...]
    principles: tuple[tuple[str, str], ...]
    """Their ids and anchors."""
    also: tuple[tuple[str, str], ...]
    """Other samples of the same prompt: the title of their shelf, and their anchor."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt with its replies; `facts` are short lines about them."""

    kind: str
    row_id: str
    prompt: tuple[Said, ...]
    versions: tuple[Version, ...]
    facts: tuple[tuple[str, str], ...] = ()
    judged_by: tuple[str, ...] = ()
    """The principles by which a pair was labelled."""
    number: int | None = None
    """Of a prompt's pairs, which one."""
    trace: SampleTrace | None = None

    @property
    def anchor(self) -> str:
        """Its id in the page; a row id may hold any characters."""
        return f"sample-{self.kind}-{digest(self.row_id, self.number)[:12]}"

    @property
    def principles(self) -> tuple[str, ...]:
        """Every principle that the sample is about."""
        revised = {version.principle_id for version in self.versions if version.principle_id}
        return tuple(sorted(revised | set(self.judged_by)))

    @property
    def heading(self) -> str:
        """The last turn of the prompt."""
        return self.prompt[-1].words if self.prompt else ""

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Every outcome in the sample."""
        return tuple(sorted({outcome for v in self.versions for outcome in (v.outcome, v.critique_outcome)}))

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label in the sample."""
        return tuple(sorted({label for version in self.versions for label in version.labels}))


@dataclass(frozen=True, slots=True)
class Shelf:
    """The samples of one kind, and how many there were to choose from."""

    kind: str
    title: str
    note: str
    samples: tuple[Sample, ...]
    total: int


T = TypeVar("T")


def in_order(items: Sequence[T], row_id: Callable[[T], str], outcomes: Callable[[T], Iterable[str]]) -> list[T]:
    """At most `MOST` items: the first `FIRST`, bad outcomes among them, then all others, both in digest order.

    The order is deterministic.
    """
    order = sorted(range(len(items)), key=lambda index: digest("report", row_id(items[index])))
    seen: dict[str, int] = {}
    chosen: list[int] = []
    for index in order:
        wrong = [outcome for outcome in set(outcomes(items[index])) if outcome != Outcome.OK]
        if any(seen.get(outcome, 0) < RARE for outcome in wrong) and len(chosen) < FIRST:
            chosen.append(index)
            for outcome in wrong:
                seen[outcome] = seen.get(outcome, 0) + 1
    taken = set(chosen)
    others = [index for index in order if index not in taken]
    more = FIRST - len(chosen)
    position = {index: rank for rank, index in enumerate(order)}
    first = sorted([*chosen, *others[:more]], key=position.__getitem__)
    return [items[index] for index in [*first, *others[more:]][:MOST]]


@dataclass(frozen=True, slots=True)
class Ratings:
    """The grader's ratings of revisions and pairs; empty without a grader."""

    revisions: tuple[RevisionRating, ...] = ()
    pairs: tuple[PairRating, ...] = ()


def ratings(measure: Artefact | None) -> Ratings:
    """The ratings that the measure stage published."""
    path = measure.path / RATINGS if measure is not None else None
    if path is None or not path.is_file():
        return Ratings()
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return Ratings(
        tuple(from_record(RevisionRating, each, str(path)) for each in records if each["of"] == "revision"),
        tuple(from_record(PairRating, each, str(path)) for each in records if each["of"] == "pair"),
    )


def revision_shelf(
    responses: Artefact, revisions: Artefact, constitution: Constitution, rated: Ratings
) -> Shelf | None:
    """Every red-team reply with its critiques and revisions in order."""
    labels = {(row.row_id, row.step): row.labels for row in rated.revisions}
    steps: dict[str, list[RevisionRow]] = {}
    for revision in revisions.rows(RevisionRow):
        steps.setdefault(revision.row_id, []).append(revision)
    replies = responses.rows(ReplyRow)
    first = [row for row in replies if row.kind is PromptKind.RED_TEAM and row.row_id in steps]
    requests = {principle.id: principle.critique_request for principle in constitution.revision}

    def sample(row: ReplyRow) -> Sample:
        reply = plain_text(row.completion)
        versions = [Version("Reply", reply, labels.get((row.row_id, 0), ()), row.outcome, row.finish)]
        for step in sorted(steps[row.row_id], key=lambda one: one.step):
            versions.append(
                Version(
                    f"Revision {step.step}",
                    tuple(changes(clip(step.before), clip(step.completion))),
                    labels.get((row.row_id, step.step), ()),
                    step.outcome,
                    step.finish or "",
                    step.principle_id,
                    requests.get(step.principle_id, ""),
                    None if step.critique is None else clip(step.critique),
                    step.critique_outcome or "ok",
                )
            )
        return Sample("revision", row.row_id, prompt_of(row.prompt), tuple(versions))

    def outcomes(row: ReplyRow) -> list[str]:
        own = [outcome for one in steps[row.row_id] for outcome in (one.outcome, one.critique_outcome or "ok")]
        return [row.outcome, *own]

    chosen = in_order(first, lambda row: row.row_id, outcomes)
    note = "A reply of the assistant, then its revision by each drawn principle. New words are underlined."
    return _shelf("revision", "Critiques and revisions", note, [sample(row) for row in chosen], len(first))


def pair_shelf(feedback: Sequence[Artefact], constitution: Constitution, rated: Ratings) -> Shelf | None:
    """Labelled pairs of all rounds with principle and probabilities."""
    labels = {(row.row_id, row.pair): (row.a, row.b) for row in rated.pairs}
    instructions = {principle.id: principle.instruction for principle in constitution.preference}

    def sample(row: LabelRow) -> Sample:
        of_a, of_b = labels.get((row.row_id, row.pair), ((), ()))
        p_a = row.p_a
        shares = ("", "") if p_a is None else (f", {probability(p_a)}", f", {probability(1 - p_a)}")
        facts = [
            ("principle", f"{axis.principle_id}: {instructions.get(axis.principle_id, '')}") for axis in axes_in(row)
        ]
        before = row.p_a_unclamped
        clamped = f", {probability(before)} before it was clamped" if before is not None and before != p_a else ""
        facts.append(("label", "undecided" if p_a is None else f"P(A better) = {probability(p_a)}{clamped}"))
        for log_odds, words in ((row.log_odds_ab, "A shown first"), (row.log_odds_ba, "B shown first")):
            if log_odds is not None:
                facts.append((f"log-odds for A, {words}", signed(log_odds)))
        facts.append(("judge", row.judge))
        facts += [
            (f"{each.judge} on {each.axis}", "undecided" if each.p_a is None else probability(each.p_a))
            for each in row.judgements
            if len(row.judgements) > 1
        ]
        versions = (
            Version(f"Reply A{shares[0]}", plain_text(row.response_a), of_a, row.outcome),
            Version(f"Reply B{shares[1]}", plain_text(row.response_b), of_b, row.outcome),
        )
        judged_by = tuple(axis.principle_id for axis in axes_in(row))
        return Sample("pair", row.row_id, prompt_of(row.prompt), versions, tuple(facts), judged_by, row.pair)

    rows = [row for stage in feedback for row in stage.rows(LabelRow)]
    chosen = in_order(rows, lambda row: row.row_id, lambda row: [row.outcome])
    later = ", in later rounds of the policy before" if len(feedback) > 1 else ""
    note = f"Two replies of the SL-CAI model{later}, and the judge's preference by the drawn principle."
    return _shelf("pair", "AI labels", note, [sample(row) for row in chosen], len(rows))


def answer_shelf(measure: Artefact) -> Shelf | None:
    """The replies of all models to the same held-out prompt."""
    by_prompt: dict[str, list[AnswerRow]] = {}
    for row in measure.rows(AnswerRow):
        by_prompt.setdefault(row.row_id, []).append(row)

    def sample(rows: list[AnswerRow]) -> Sample:
        versions = tuple(
            Version(row.model, plain_text(row.completion), row.labels, row.outcome, row.finish) for row in rows
        )
        first = rows[0]
        kind = "benign" if first.kind is PromptKind.HELD_OUT_BENIGN else "harmful"
        return Sample("answer", first.row_id, prompt_of(first.prompt), versions, (("prompt", kind),))

    groups = list(by_prompt.values())
    chosen = in_order(groups, lambda rows: rows[0].row_id, lambda rows: [row.outcome for row in rows])
    note = "A prompt that no training stage has seen, and the reply of each model."
    return _shelf("answer", "Held-out answers", note, [sample(rows) for rows in chosen], len(groups))


def _shelf(kind: str, title: str, note: str, samples: Sequence[Sample], total: int) -> Shelf | None:
    return Shelf(kind, title, note, tuple(samples), total) if samples else None


def prompt_of(prompt: Conversation) -> tuple[Said, ...]:
    """The turns of a prompt, as the page shows them."""
    names = {Role.HUMAN: "Human", Role.ASSISTANT: "Assistant", Role.SYSTEM: "System"}
    return tuple(Said(names.get(turn.role, turn.role.value), clip(turn.content)) for turn in prompt.turns)


def plain_text(words: str | None) -> tuple[TextPiece, ...]:
    """A text without marks of what is new in it; nothing for no text."""
    return (TextPiece(clip(words), False),) if words else ()
