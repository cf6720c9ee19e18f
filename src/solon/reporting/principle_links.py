"""What each principle of a run changed, for the report: its anchor, and the sentences of its trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from solon.config.recipe import Method
from solon.reporting.tracing.find_trace import principle_trace
from solon.reporting.tracing.principle_reach import Repetition
from solon.reporting.tracing.run_tables import RunTables
from solon.reporting.tracing.trace_parts import PrincipleKind
from solon.reporting.tracing.trace_principles import RunPrinciples
from solon.reporting.tracing.trace_sentences import outcome_sentences
from solon.runs import Artefact, RunDirectory
from solon.stages.plan import AI_FEEDBACK, CRITIQUE_REVISION


@dataclass(frozen=True, slots=True)
class ReachLines:
    """A principle's anchor in the page, its place and digest, and what it changed, in sentences."""

    anchor: str
    place: str
    digest: str
    sentences: tuple[str, ...]


def principle_reaches(run: RunDirectory, stages: Mapping[str, Artefact]) -> dict[tuple[str, str], ReachLines]:
    """By list and id; without sentences for a list whose stage is not finished."""
    if run.recipe.method is not Method.CAI:
        return {}
    known = RunPrinciples(run)
    sources = [
        source for kind in PrincipleKind for each in known.principles(kind) if (source := known.source(kind, each.id))
    ]
    made = {PrincipleKind.REVISION: CRITIQUE_REVISION in stages, PrincipleKind.PREFERENCE: AI_FEEDBACK in stages}
    # Repeating every draw without each principle takes too long for large runs; `solon trace` does it for one.
    outcomes = principle_trace(RunTables(run, stages), "", sources, Repetition.NONE).outcomes
    return {
        (source.kind.value, source.id): ReachLines(
            f"principle-{source.kind.value}-{source.number}",
            source.place,
            source.digest,
            tuple(outcome_sentences(outcome)) if made[source.kind] else (),
        )
        for source, outcome in zip(sources, outcomes, strict=True)
    }
