"""Chains of critiques and revisions for prompts that somebody brings, outside any run.

The stages responses and critique-revision run in a temporary folder that is removed: the same questions, draws, seeds
and checks as in a run with the same seed, so that a chain shown here is the chain that a run would train on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from solon.config.recipe import ResponseSettings, RevisionSettings
from solon.constitution.constitution import Constitution, revision_principles, worked_critiques
from solon.conversation import Conversation
from solon.engines.base import Engine
from solon.runs.outcome import Outcome
from solon.runs.rows import PromptKind, PromptRow, ReplyRow, RevisionRow, good
from solon.runs.standalone_stage import run_standalone
from solon.sources.replies import ending_on_human, prompt_in
from solon.stages import s02_responses, s03_critique_revision


@dataclass(frozen=True, slots=True)
class RevisionStep:
    """One critique and one revision of the reply before it, by one principle."""

    step: int
    principle_id: str
    critique: str | None
    """None where the reply is revised without a critique (the direct mode)."""
    critique_outcome: Outcome | None
    revision: str
    """Empty where there is none, since the critique failed."""
    outcome: Outcome
    """`ok`, or why the revision is not used; a failed step leaves the reply as it was."""
    defects: tuple[str, ...] = ()
    """The rules that critique or revision break."""


@dataclass(frozen=True, slots=True)
class RevisionChain:
    """A prompt, the model's reply to it, and every step in order; no step where the reply itself failed."""

    prompt: Conversation
    reply: str
    reply_outcome: Outcome
    steps: tuple[RevisionStep, ...]

    @property
    def final(self) -> str:
        """The last good revision, or the reply where no revision is good."""
        good = [step.revision for step in self.steps if step.outcome is Outcome.OK]
        return good[-1] if good else self.reply


def conversation_from(given: Conversation | str, place: str) -> Conversation:
    """A prompt given as a text, a transcript or a conversation; raises InputError when there is nothing to reply to."""
    form = "Give a text, a transcript that ends on a human turn, or such a conversation"
    if isinstance(given, str):
        return prompt_in(given, "prompt", place, form)
    return ending_on_human(given.turns, place, form)


def revision_chains(
    engine: Engine,
    prompts: Sequence[Conversation],
    constitution: Constitution,
    responses: ResponseSettings,
    revision: RevisionSettings,
    seed: int,
) -> list[RevisionChain]:
    """A chain for each prompt, in order; the model replies, criticises and revises.

    Raises RecipeError for principles or worked examples that the constitution lacks, and what the engine raises.
    """
    revision_principles(revision, constitution)
    worked_critiques(revision, constitution)
    unique = {prompt.row_id: prompt for prompt in prompts}
    with TemporaryDirectory(prefix="solon-chains-") as folder:
        place = Path(folder)
        rows = [_prompt_row(row_id, prompt) for row_id, prompt in unique.items()]
        given = run_standalone(place / "prompts", "prompts", {}, lambda out: out.publish(rows, PromptRow))
        asked = s02_responses.ResponseInputs(seed, given)
        replied = run_standalone(
            place / "responses", "responses", {}, lambda out: s02_responses.run(responses, asked, engine, out)
        )
        replies = {row.row_id: row for row in replied.rows(ReplyRow)}
        steps: dict[str, list[RevisionRow]] = {}
        if good(replies.values()):
            inputs = s03_critique_revision.RevisionInputs(seed, constitution, replied)
            revised = run_standalone(
                place / "revisions",
                "critique-revision",
                {},
                lambda out: s03_critique_revision.run(revision, inputs, engine, out),
            )
            for row in revised.rows(RevisionRow):
                steps.setdefault(row.row_id, []).append(row)
    chains = {row_id: _chain(unique[row_id], replies[row_id], steps.get(row_id, [])) for row_id in unique}
    return [chains[prompt.row_id] for prompt in prompts]


def _prompt_row(row_id: str, prompt: Conversation) -> PromptRow:
    return PromptRow(row_id=row_id, kind=PromptKind.RED_TEAM, prompt=prompt, source="given", outcome=Outcome.OK)


def _chain(prompt: Conversation, reply: ReplyRow, steps: Sequence[RevisionRow]) -> RevisionChain:
    ordered = sorted(steps, key=lambda row: row.step)
    return RevisionChain(prompt, reply.completion, reply.outcome, tuple(map(_step, ordered)))


def _step(row: RevisionRow) -> RevisionStep:
    return RevisionStep(
        step=row.step,
        principle_id=row.principle_id,
        critique=row.critique,
        critique_outcome=row.critique_outcome,
        revision=row.completion,
        outcome=row.outcome,
        defects=(*row.critique_defects, *row.defects),
    )
