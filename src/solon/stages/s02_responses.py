"""Stage 02-responses: the helpful-only assistant answers (paper, sections 3.1 and 3.2).

Each red-team prompt gets one reply, the first text of its chain of critiques and revisions. Each helpfulness prompt
gets several, which are mixed into SL-CAI training so that the model stays as helpful as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from solon import prompts
from solon.checks.texts import check_reply
from solon.config.recipe import ResponseSettings, SamplingParams
from solon.conversation import Conversation
from solon.digest import seed_for
from solon.engines.base import Completion, Engine
from solon.feedback.ask import ask
from solon.runs import Artefact, Row, StageFolder
from solon.runs.rows import DEFECTS, MESSAGES, STRING, PromptKind, assistant_turn, count_defects, fit, prompt_in

CODE = 1
"""The version of this stage's code; raised with every change that makes other rows of the same inputs."""
SCHEMA = pa.schema(
    [
        ("row_id", STRING),
        ("kind", STRING),
        ("sample", pa.int64()),
        ("prompt", MESSAGES),
        ("completion", MESSAGES),
        ("thinking", STRING),
        ("finish", STRING),
        ("seed", pa.int64()),
        ("outcome", STRING),
        ("defects", DEFECTS),
    ]
)


@dataclass(frozen=True, slots=True)
class ResponseInputs:
    """The run's seed, the prompts (01-prompts), and how many are asked and made durable at once."""

    seed: int
    prompts: Artefact
    chunk: int = 128


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """One reply that is asked for."""

    row_id: str
    kind: PromptKind
    sample: int
    conversation: Conversation
    seed: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Answers prompts, a chunk at a time; it can be sent to another process where the engine can."""

    engine: Engine
    sampling: SamplingParams

    def __call__(self, batch: Sequence[ReplyRequest]) -> list[Row]:
        """The rows of these requests."""
        questions = [prompts.reply(item.conversation) for item in batch]
        replies = ask(self.engine, questions, [item.seed for item in batch], self.sampling)
        return [_row(item, reply) for item, reply in zip(batch, replies, strict=True)]


def run(settings: ResponseSettings, inputs: ResponseInputs, engine: Engine, out: StageFolder) -> Artefact:
    """Draw one reply to each red-team prompt and `helpful_samples` to each helpfulness prompt, check them, publish."""
    asked = [
        ReplyRequest(
            row["row_id"], PromptKind(row["kind"]), sample, prompt_in(row), _seed(inputs.seed, row["row_id"], sample)
        )
        for row in fit(inputs.prompts.rows(), PromptKind.RED_TEAM, PromptKind.HELPFUL)
        for sample in range(settings.helpful_samples if row["kind"] == PromptKind.HELPFUL else 1)
    ]
    rows = out.map("replies", asked, Answer(engine, settings.sampling), chunk=inputs.chunk)
    return out.publish(rows, SCHEMA, facts={"engine": engine.name, "defects": count_defects(rows)})


def _seed(run_seed: int, row_id: str, sample: int) -> int:
    return seed_for(run_seed, "responses", row_id, sample)


def _row(asked: ReplyRequest, reply: Completion) -> Row:
    checked = check_reply(reply)
    return {
        "row_id": asked.row_id,
        "kind": asked.kind.value,
        "sample": asked.sample,
        "prompt": asked.conversation.messages(),
        "completion": assistant_turn(checked.text),
        "thinking": reply.thinking or None,
        "finish": reply.finish.value,
        "seed": asked.seed,
        "outcome": checked.outcome.value,
        "defects": [defect.value for defect in checked.defects],
    }
