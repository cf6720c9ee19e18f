"""Stage 02-responses: the helpful-only assistant answers (paper, sections 3.1 and 3.2).

Each red-team prompt gets one reply, the first text of its chain of critiques and revisions. Each helpfulness prompt
gets several, which are mixed into SL-CAI training so that the model stays as helpful as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from solon import prompts
from solon.checks.texts import check_reply
from solon.config.recipe import ResponseSettings
from solon.digest import seed_for
from solon.engines.base import Completion, Engine
from solon.feedback.ask import ask
from solon.runs import Artefact, StageFolder
from solon.runs.rows import TRAINING_KINDS, PromptKind, PromptRow, ReplyRow, count_defects, good_of

CODE = 1
"""The version of this stage's code; raised with every change that makes other rows of the same inputs."""


@dataclass(frozen=True, slots=True)
class ResponseInputs:
    """The run's seed, the prompts (01-prompts), and how many are asked and made durable at once."""

    seed: int
    prompts: Artefact
    chunk: int = 128


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """One reply that is asked for."""

    prompt: PromptRow
    sample: int
    seed: int


def run(settings: ResponseSettings, inputs: ResponseInputs, engine: Engine, out: StageFolder) -> Artefact:
    """Draw one reply to each red-team prompt and `helpful_samples` to each helpfulness prompt, check them, publish."""
    asked = [
        ReplyRequest(row, sample, seed_for(inputs.seed, "responses", row.row_id, sample))
        for row in good_of(inputs.prompts.rows(PromptRow), *TRAINING_KINDS)
        for sample in range(settings.helpful_samples if row.kind is PromptKind.HELPFUL else 1)
    ]

    def answer(batch: Sequence[ReplyRequest]) -> list[ReplyRow]:
        questions = [prompts.reply(item.prompt.prompt) for item in batch]
        replies = ask(engine, questions, [item.seed for item in batch], settings.sampling)
        return [_row(item, reply) for item, reply in zip(batch, replies, strict=True)]

    rows = out.map("replies", asked, answer, row=ReplyRow, chunk=inputs.chunk)
    facts = {"engine": engine.name, "defects": count_defects(row.defects for row in rows)}
    return out.publish(rows, ReplyRow, facts=facts)


def _row(asked: ReplyRequest, reply: Completion) -> ReplyRow:
    checked = check_reply(reply)
    return ReplyRow(
        row_id=asked.prompt.row_id,
        kind=asked.prompt.kind,
        sample=asked.sample,
        prompt=asked.prompt.prompt,
        completion=checked.text,
        thinking=reply.thinking or None,
        finish=reply.finish.value,
        seed=asked.seed,
        outcome=checked.outcome,
        defects=tuple(defect.value for defect in checked.defects),
    )
