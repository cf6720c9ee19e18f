"""The trace of anything in a run that has a name: `trace_of(run, ID)`.

ID is one of
- the id of a principle, or its number in its list: what the principle changed; `revision/ID` and `preference/ID` name
  one of the two lists;
- a row id, or at least six of its first digits: all that the run made of this prompt, in the order of the work;
- `STAGE/ROW_ID/NUMBER`, as traces print addresses: the row, and back from it all that it is made of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from solon.config.located_yaml import nearest
from solon.errors import RunError
from solon.reporting.samples import ratings
from solon.reporting.tracing.principle_reach import (
    ExampleReach,
    PreferenceReach,
    Repetition,
    RevisionReach,
    preference_examples,
    preference_reach,
    revision_reach,
    supervised_examples,
    worked_arrangements,
)
from solon.reporting.tracing.run_tables import RunTables, near_ids
from solon.reporting.tracing.stage_records import records_behind
from solon.reporting.tracing.trace_parts import CRITIQUE, PrincipleKind, RowTrace, TracePart, address, behind
from solon.reporting.tracing.trace_principles import PrincipleSource, RunPrinciples
from solon.reporting.tracing.traced_prompt import TracedPrompt
from solon.reporting.tracing.traced_rows import parts_of
from solon.runs import RunDirectory
from solon.runs.rows import LabelRow, RevisionRow
from solon.runs.training_rows import EXAMPLES, PreferenceExampleRow, SftExampleRow
from solon.stages import plan

R = TypeVar("R")
PREFIX = re.compile(r"[0-9a-f]{6,}")
"""What may be the beginning of a row id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipleOutcome:
    """A principle and what it changed; one of the two reaches is there."""

    principle: PrincipleSource
    revision: RevisionReach | None = None
    preference: PreferenceReach | None = None
    worked: int = 0
    """Arrangements of worked comparisons in which it stands, of `arrangements`."""
    arrangements: int = 0
    examples: tuple[ExampleReach, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipleTrace:
    """What the principles of an id changed: one, or one of each list."""

    of: str
    outcomes: tuple[PrincipleOutcome, ...]
    unfinished: tuple[str, ...] = ()
    """Stages of the run that are not finished, so that nothing is known of them."""
    remarks: tuple[str, ...] = ()


def trace_of(run: RunDirectory, identifier: str) -> RowTrace | PrincipleTrace:
    """Trace a principle forward, or a row back; raises RunError, naming what is near, for an id that the run lacks."""
    named = principles_named(run, identifier)
    return principle_trace(RunTables.of(run), identifier, named) if named else row_trace(run, identifier)


def principles_named(run: RunDirectory, identifier: str) -> list[PrincipleSource]:
    """The principles of an id, of a number, or of `LIST/ID`; none where the run has none of that name."""
    known = RunPrinciples(run)
    first, _, rest = identifier.partition("/")
    kinds = [PrincipleKind(first)] if rest and first in set(PrincipleKind) else list(PrincipleKind)
    word = rest if len(kinds) == 1 else identifier
    found = []
    for kind in kinds:
        listed = known.principles(kind)
        ids = [each.id for each in listed if each.id == word]
        if not ids and word.isdecimal() and len(word) < 5 and 1 <= int(word) <= len(listed):
            ids = [listed[int(word) - 1].id]
        found += [source for id in ids if (source := known.source(kind, id)) is not None]
    return found


# Forward --------------------------------------------------------------------------------------------------------------


def principle_trace(
    tables: RunTables,
    of: str,
    sources: Sequence[PrincipleSource],
    repetition: Repetition = Repetition.EVERY_DRAW,
) -> PrincipleTrace:
    """What these principles changed in a run, as far as these tables go."""
    run, principles = tables.run, RunPrinciples(tables.run)
    made = tables.artefacts
    rated = ratings(made.get(plan.MEASURE))
    labels = [
        (name, row)
        for name, artefact in made.items()
        if plan.out_of_round(name) == plan.AI_FEEDBACK
        for row in artefact.rows(LabelRow)
    ]
    chains = made.get(plan.CRITIQUE_REVISION)
    revisions = chains.rows(RevisionRow) if chains is not None else []
    outcomes = []
    for source in sources:
        if source.kind is PrincipleKind.REVISION:
            outcomes.append(
                PrincipleOutcome(
                    principle=source,
                    revision=revision_reach(
                        principles, source.id, revisions, rated, plan.CRITIQUE_REVISION, repetition
                    ),
                    examples=tuple(
                        supervised_examples(name, source.id, rows)
                        for name, rows in _examples(tables, (plan.SL_CAI,), SftExampleRow)
                    ),
                )
            )
            continue
        worked, arrangements = worked_arrangements(principles, source.id)
        models = plan.PREFERENCE_MODEL, plan.HELD_OUT_MODEL
        outcomes.append(
            PrincipleOutcome(
                principle=source,
                preference=preference_reach(principles, source.id, labels, rated, revisions, repetition),
                worked=worked,
                arrangements=arrangements,
                examples=tuple(
                    preference_examples(name, source.id, rows)
                    for name, rows in _examples(tables, models, PreferenceExampleRow)
                ),
            )
        )
    unfinished = tuple(name for name in plan.names_of(run.recipe) if name not in made)
    return PrincipleTrace(of=of, outcomes=tuple(outcomes), unfinished=unfinished, remarks=tuple(run.remarks()))


def _examples(tables: RunTables, stages: Iterable[str], row: type[R]) -> list[tuple[str, list[R]]]:
    """The training examples of these stages, in all rounds; earlier versions of Solon kept none."""
    return [
        (name, artefact.rows(row, file=EXAMPLES))
        for name, artefact in tables.artefacts.items()
        if plan.out_of_round(name) in stages and EXAMPLES in artefact.manifest.files
    ]


# Back -----------------------------------------------------------------------------------------------------------------


def row_trace(run: RunDirectory, identifier: str) -> RowTrace:
    """A row back to its prompt, or all that the run made of a prompt; raises RunError for an id that is not there."""
    tables = RunTables.of(run)
    words = identifier.strip("/").split("/")
    if len(words) == 1:
        row_id = _full_id(tables, words[0])
        return _traced(run, tables, row_id, None)
    stage, prefix, *rest = words
    if stage not in tables.names():
        if stage in tables.artefacts and tables.number_of(stage):
            cause = f"stage '{stage}' kept no table of its rows; an earlier version of Solon made it"
            raise RunError(cause, place=str(run.path), remedy=f"Trace the rows of {', '.join(tables.names())}")
        raise RunError(
            f"no finished stage '{stage}' has rows to trace",
            place=str(run.path),
            remedy=f"Stages with rows: {', '.join(tables.names()) or 'none yet'}",
        )
    row_id = _full_id(tables, prefix)
    known = tables.keys(stage, row_id)
    number = rest[0] if rest else known[0] if len(known) == 1 else None
    if row_id not in tables.ids(stage):
        holders = [name for name in tables.names() if row_id in tables.ids(name)]
        raise RunError(
            f"stage '{stage}' has no row {row_id}",
            place=str(run.path),
            remedy=f"It is in {', '.join(holders)}",
        )
    if known and number not in known:
        which = f"several rows {row_id}" if number is None else f"no row {row_id} with the number {number}"
        raise RunError(
            f"stage '{stage}' has {which}",
            place=str(run.path),
            remedy=f"Name one by its {tables.number_of(stage)}: "
            + ", ".join(address(stage, row_id, each) for each in known[:6]),
        )
    return _traced(run, tables, row_id, address(stage, row_id, number, *rest[1:2]))


def _traced(run: RunDirectory, tables: RunTables, row_id: str, wanted: str | None) -> RowTrace:
    parts: Sequence[TracePart] = parts_of(TracedPrompt(tables, RunPrinciples(run), row_id))
    if wanted is not None:
        found = behind(parts, wanted)
        if not found:
            near = [each.address for each in parts if each.address.startswith(wanted.rpartition("/")[0])]
            remedy = f"Parts of that row: {', '.join(near[:6])}; a critique's address ends in /{CRITIQUE}"
            raise RunError(f"the run has no {wanted}", place=str(run.path), remedy=remedy)
        parts = found
    stages = dict.fromkeys(part.stage for part in parts if part.stage is not None)
    return RowTrace(
        of=wanted or row_id,
        parts=tuple(parts),
        stages=records_behind(tables.artefacts, stages),
        remarks=tuple(run.remarks()),
    )


def _full_id(tables: RunTables, word: str) -> str:
    """The row id that a word is, or begins; raises RunError for none, and for several."""
    ids = tables.all_ids()
    if word in set(ids):
        return word
    matching = [each for each in ids if each.startswith(word)] if PREFIX.fullmatch(word) else []
    if len(matching) == 1:
        return matching[0]
    place = str(tables.run.path)
    if matching:
        raise RunError(
            f"{len(matching)} row ids begin with '{word}'",
            place=place,
            remedy=f"Write more digits: {', '.join(matching[:4])}",
        )
    raise RunError(f"no row and no principle '{word:.80}'", place=place, remedy=_remedy(tables, ids, word))


def _remedy(tables: RunTables, ids: Sequence[str], word: str) -> str:
    run = tables.run
    principles = dict.fromkeys(each.id for kind in PrincipleKind for each in RunPrinciples(run).principles(kind))
    if near := near_ids(word, ids):
        return f"Row ids that begin like it: {', '.join(near)}"
    if close := nearest(word, principles):
        return f"Did you mean the principle '{close}'?"
    held = ", ".join(f"{name} ({tables.count(name):,})" for name in tables.names())
    return (
        f"Row ids are in the column row_id of {held or 'no table yet'}; "
        f"principles: {', '.join(principles)}, or their numbers"
    )
