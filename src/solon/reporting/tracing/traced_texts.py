"""The parts of a trace that the supervised stages give: prompt, replies, critiques, revisions, examples of SL-CAI."""

from __future__ import annotations

from collections.abc import Iterator

from solon.reporting.tracing.trace_parts import CRITIQUE, PrincipleKind, TracePart, address, facts_of
from solon.reporting.tracing.traced_prompt import TracedPrompt, labels_in, said, with_defects
from solon.runs.rows import PromptRow, ReplyRow, RevisionRow
from solon.runs.training_rows import SftExampleRow
from solon.stages import plan


def prompts(at: TracedPrompt, name: str) -> Iterator[TracePart]:
    """The prompt, with the file and line that it comes from."""
    for row in at.tables.rows(name, PromptRow, at.row_id):
        files = at.tables.artefacts[name].manifest.key.get("files") or {}
        yield TracePart(
            address=at.prompt,
            title="Prompt",
            stage=name,
            text=said(row.prompt),
            facts=facts_of(
                [
                    ("kind", row.kind.value.replace("_", " ")),
                    ("source", row.source if row.line is None else f"{row.source}, line {row.line}"),
                    ("digest of the source", files.get(row.source)),
                    ("row id", f"{row.row_id}, the digest of the conversation"),
                    ("outcome", row.outcome.value),
                ]
            ),
        )


def replies(at: TracedPrompt, name: str) -> Iterator[TracePart]:
    """The assistant's replies."""
    by = at.tables.artefacts[name].facts.get("engine")
    rated = at.ratings()
    for row in at.tables.rows(name, ReplyRow, at.row_id):
        facts = [
            ("written by", by),
            ("seed", row.seed),
            ("ended by", row.finish),
            ("outcome", with_defects(row.outcome.value, row.defects)),
            ("grader's labels", labels_in(rated.get(0))),
            ("thinking", row.thinking),
        ]
        yield TracePart(
            address=address(name, row.row_id, row.sample),
            title=f"Reply {row.sample}",
            stage=name,
            text=row.completion,
            facts=facts_of(facts),
            made_of=(at.prompt,),
        )


def revisions(at: TracedPrompt, name: str) -> Iterator[TracePart]:
    """Critiques and revisions of every step, after the principle that the step drew."""
    rated = at.ratings()
    before = address(plan.RESPONSES, at.row_id, 0)
    for row in sorted(at.tables.rows(name, RevisionRow, at.row_id), key=lambda row: row.step):
        principle = address(PrincipleKind.REVISION, row.principle_id)
        yield at.principles.part(PrincipleKind.REVISION, row.principle_id)
        own = address(name, row.row_id, row.step)
        made_of = [before, principle]
        if row.critique is not None:
            made_of.insert(0, address(own, CRITIQUE))
            yield _critique(at, row, own, (before, principle))
        following = at.principles.next_for_revision(row.principle_id, row.row_id, row.step)
        facts = [
            ("principle", row.principle_id),
            ("without this principle", following and f"the draw gives {following}"),
            ("written by", row.reviser),
            ("seed", row.seed),
            ("ended by", row.finish),
            ("outcome", with_defects(row.outcome.value, row.defects)),
            ("grader's labels", labels_in(rated.get(row.step))),
            ("candidates", len(row.candidates) or None),
            ("chosen by", row.chosen_by),
            ("thinking", row.thinking),
        ]
        if row.chosen_by:
            yield at.principles.part(PrincipleKind.PREFERENCE, row.chosen_by)
            made_of.append(address(PrincipleKind.PREFERENCE, row.chosen_by))
        yield TracePart(
            address=own,
            title=f"Revision {row.step}",
            stage=name,
            text=row.completion,
            facts=facts_of(facts),
            made_of=tuple(made_of),
        )
        # A failed step leaves the reply as it was.
        before = own if row.outcome.value == "ok" else before


def _critique(at: TracedPrompt, row: RevisionRow, own: str, made_of: tuple[str, ...]) -> TracePart:
    outcome = row.critique_outcome.value if row.critique_outcome else ""
    facts = [
        ("principle", row.principle_id),
        ("written by", row.critic),
        ("seed", row.critique_seed),
        ("ended by", row.critique_finish),
        ("outcome", with_defects(outcome, row.critique_defects)),
        ("thinking", row.critique_thinking),
    ]
    return TracePart(
        address=address(own, CRITIQUE),
        title=f"Critique {row.step}",
        stage=plan.CRITIQUE_REVISION,
        text=row.critique,
        facts=facts_of(facts),
        made_of=made_of,
    )


def supervised(at: TracedPrompt, name: str) -> Iterator[TracePart]:
    """Training examples of SL-CAI, each made of a revision or a reply."""
    for row in at.tables.rows(name, SftExampleRow, at.row_id):
        number = row.sample if row.step is None else row.step
        facts = [
            ("principle", row.principle_id),
            ("used for", "the evaluation loss" if row.held_out else "training"),
            ("weight", row.weight),
            ("tokens", row.tokens),
        ]
        yield TracePart(
            address=address(name, row.row_id, number),
            title=f"Training example of {name}",
            stage=name,
            text=row.completion,
            facts=facts_of(facts),
            made_of=(address(row.stage, row.row_id, number),),
        )
