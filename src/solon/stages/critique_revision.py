"""Stage 03-critique-revision: the supervised half of the method's data (paper, section 3.1).

The reply to a red-team prompt is revised several times. At each step a principle is drawn at random for the prompt, the
model writes a critique of the last reply by that principle, and revises the reply in the light of its critique; in the
direct mode the critique is left out (section 3.5). Worked examples in the same format stand in front. Every step keeps
its principle, critique and revision. A step that fails keeps its record, with what was written, and the chain goes on
from the last good reply; a critique that fails its checks is not shown to the reviser, and the step has no revision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from solon import wording
from solon.constitution import Constitution, CritiqueExample, RevisionPrinciple, draw
from solon.conversation import Conversation
from solon.digest import seed_for
from solon.engines.base import Completion, Engine
from solon.errors import RecipeError, StageError
from solon.outcome import Outcome, count_outcomes
from solon.recipe import RevisionMode, RevisionSettings
from solon.runs import Artefact, Row, StageFolder
from solon.stages.asking import ask
from solon.stages.checks import Checked, Shown, check_critique, check_revision
from solon.stages.tables import (
    DEFECTS,
    MESSAGES,
    STRING,
    Assess,
    Kind,
    assistant_turn,
    count_defects,
    fit,
    prompt_in,
    reply_in,
)

SCHEMA = pa.schema(
    [
        ("row_id", STRING),
        ("step", pa.int64()),
        ("prompt", MESSAGES),
        ("before", STRING),
        ("principle_id", STRING),
        ("critique", STRING),
        ("critique_finish", STRING),
        ("critique_outcome", STRING),
        ("critique_defects", DEFECTS),
        ("completion", MESSAGES),
        ("finish", STRING),
        ("seed", pa.int64()),
        ("critic", STRING),
        ("outcome", STRING),
        ("defects", DEFECTS),
    ]
)


@dataclass(frozen=True, slots=True)
class RevisionInputs:
    """The run's seed, the constitution, the replies (02-responses), how many are asked at once, and a measure."""

    seed: int
    constitution: Constitution
    responses: Artefact
    chunk: int = 128
    assess: Assess | None = None
    """Measures the critic on questions with known answers, for the facts."""


@dataclass(frozen=True, slots=True)
class Link:
    """One step of one chain: the reply to be revised, the principle drawn, and the critique once there is one."""

    row_id: str
    conversation: Conversation
    reply: str
    step: int
    principle: RevisionPrinciple
    critique: Row | None = None
    """The critique's columns; None before it is written, and in the direct mode."""


def run(settings: RevisionSettings, inputs: RevisionInputs, engine: Engine, out: StageFolder) -> Artefact:
    """Critique and revise each good red-team reply `steps` times, a fresh principle each time; publish every step."""
    examples = worked_examples(settings, inputs.constitution)
    replies = _good_replies(inputs.responses)
    last_good = {row["row_id"]: reply_in(row) for row in replies}
    rows: list[Row] = []
    for step in range(1, settings.steps + 1):
        links = [
            Link(row["row_id"], prompt_in(row), last_good[row["row_id"]], step, _drawn(inputs, row["row_id"], step))
            for row in replies
        ]
        if settings.mode is RevisionMode.CRITIQUED:
            links = _criticise(settings, inputs, links, examples, engine, out)
        revised = _revise(settings, inputs, links, examples, engine, out)
        last_good |= {row["row_id"]: reply_in(row) for row in fit(revised)}
        rows += revised
    fitness = {"fitness": inputs.assess(engine)} if inputs.assess else {}
    return out.publish(rows, SCHEMA, facts={**_facts(rows, inputs, engine), **fitness})


def worked_examples(settings: RevisionSettings, constitution: Constitution) -> tuple[CritiqueExample, ...]:
    """The constitution's first `few_shot` worked critiques, the same in front of every question.

    Raises RecipeError when there are fewer.
    """
    examples = constitution.critique_examples
    if settings.few_shot > len(examples):
        raise RecipeError(
            f"{settings.few_shot} worked critiques are asked for, but the constitution has {len(examples)}",
            place="revision.few_shot",
            remedy=f"Write more under 'examples: critique:', or --set revision.few_shot={len(examples)}",
        )
    return examples[: settings.few_shot]


def _good_replies(responses: Artefact) -> list[Row]:
    rows = responses.rows()
    replies = fit(rows, Kind.RED_TEAM)
    if not replies:
        counts = count_outcomes(row["outcome"] for row in rows if row["kind"] == Kind.RED_TEAM)
        found = ", ".join(f"{outcome} {count}" for outcome, count in counts.items()) or "there are no red-team prompts"
        raise StageError(
            f"no red-team prompt has a good reply to revise: {found}",
            place=str(responses.path),
            remedy="If replies are cut off, raise the limit: --set responses.drawing.max_tokens=512",
        )
    return replies


def _drawn(inputs: RevisionInputs, row_id: str, step: int) -> RevisionPrinciple:
    return draw(inputs.constitution.revision, inputs.seed, row_id, step)


def _criticise(
    settings: RevisionSettings,
    inputs: RevisionInputs,
    links: Sequence[Link],
    examples: Sequence[CritiqueExample],
    engine: Engine,
    out: StageFolder,
) -> list[Link]:
    """The links with their critiques."""

    def criticise(batch: Sequence[Link]) -> list[Row]:
        questions = [wording.critique(link.conversation, link.reply, link.principle, examples) for link in batch]
        seeds = [seed_for(inputs.seed, "critique", link.row_id, link.step) for link in batch]
        critiques = ask(engine, questions, seeds, settings.critique)
        return [
            _critique_columns(critique, check_critique(critique, _shown(link, [each.critique for each in examples])))
            for link, critique in zip(batch, critiques, strict=True)
        ]

    critiques = out.map(f"critique-{links[0].step}", links, criticise, chunk=inputs.chunk)
    return [replace(link, critique=critique) for link, critique in zip(links, critiques, strict=True)]


def _revise(
    settings: RevisionSettings,
    inputs: RevisionInputs,
    links: Sequence[Link],
    examples: Sequence[CritiqueExample],
    engine: Engine,
    out: StageFolder,
) -> list[Row]:
    """The rows of one step: a revision of every reply whose critique is good, and a record of the others."""

    def revise(batch: Sequence[Link]) -> list[Row]:
        ready = [link for link in batch if _critique_failed(link) is None]
        questions = [
            wording.revision(link.conversation, link.reply, link.principle, _critique_text(link), examples)
            for link in ready
        ]
        seeds = {link.row_id: seed_for(inputs.seed, "revision", link.row_id, link.step) for link in batch}
        revisions = ask(engine, questions, [seeds[link.row_id] for link in ready], settings.revision)
        written = {link.row_id: revision for link, revision in zip(ready, revisions, strict=True)}
        worked = [each.revision for each in examples]
        return [
            {**_row(link, written.get(link.row_id), worked), "seed": seeds[link.row_id], "critic": engine.name}
            for link in batch
        ]

    return out.map(f"revision-{links[0].step}", links, revise, chunk=inputs.chunk)


def _shown(link: Link, examples: Sequence[str]) -> Shown:
    requests = (link.principle.critique_request, link.principle.revision_request)
    return Shown(link.conversation.turns[-1].content, requests, tuple(examples), _critique_text(link))


def _critique_text(link: Link) -> str | None:
    return None if link.critique is None else str(link.critique["critique"])


def _critique_failed(link: Link) -> Outcome | None:
    """What is wrong with the link's critique, or None when nothing is, or there is to be none."""
    if link.critique is None or link.critique["critique_outcome"] == Outcome.OK:
        return None
    return Outcome(link.critique["critique_outcome"])


def _critique_columns(critique: Completion, checked: Checked) -> Row:
    return {
        "critique": checked.text,
        "critique_finish": critique.finish.value,
        "critique_outcome": checked.outcome.value,
        "critique_defects": [defect.value for defect in checked.defects],
    }


def _row(link: Link, revision: Completion | None, worked: Sequence[str]) -> Row:
    """The record of a step; without a revision its outcome is that of its critique."""
    failed = _critique_failed(link) or Outcome.PROVIDER_ERROR
    checked = Checked("", failed) if revision is None else check_revision(revision, _shown(link, worked))
    critique = link.critique or {"critique": None, "critique_finish": None, "critique_outcome": None}
    return {
        "row_id": link.row_id,
        "step": link.step,
        "prompt": link.conversation.messages(),
        "before": link.reply,
        "principle_id": link.principle.id,
        **{"critique_defects": [], **critique},
        "completion": assistant_turn(checked.text),
        "finish": None if revision is None else revision.finish.value,
        "outcome": checked.outcome.value,
        "defects": [defect.value for defect in checked.defects],
    }


def _facts(rows: Sequence[Row], inputs: RevisionInputs, engine: Engine) -> Mapping[str, Any]:
    asked = [row for row in inputs.responses.rows() if row["kind"] == Kind.RED_TEAM]
    good = fit(rows)
    steps = sorted({row["step"] for row in rows})
    critiques = [row["critique_outcome"] for row in rows if row["critique_outcome"] is not None]
    return {
        "critic": engine.name,
        "not_begun": count_outcomes(row["outcome"] for row in asked if row["outcome"] != Outcome.OK),
        "by_step": {str(step): count_outcomes(row["outcome"] for row in rows if row["step"] == step) for step in steps},
        "critiques": count_outcomes(critiques),
        "critique_defects": count_defects(rows, "critique_defects"),
        "defects": count_defects(rows),
        "unchanged": sum(reply_in(row) == row["before"] for row in good),
        "principles": {p.id: sum(row["principle_id"] == p.id for row in rows) for p in inputs.constitution.revision},
    }
