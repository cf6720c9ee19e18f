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
from solon.config.recipe import Recipe, ResponseSettings
from solon.conversation import Conversation, Role
from solon.digest import seed_for
from solon.engines.base import Completion, Engine
from solon.feedback.ask import ask
from solon.runs import Artefact, Row, StageFolder
from solon.runs.rows import DEFECTS, MESSAGES, STRING, PromptKind, assistant_turn, count_defects, fit, prompt_in
from solon.stages.questions import REPLY, QuestionKind
from solon.stages.registry import PROMPTS
from solon.stages.stage import Reads, Stage, Work

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


def run(settings: ResponseSettings, inputs: ResponseInputs, engine: Engine, out: StageFolder) -> Artefact:
    """Draw one reply to each red-team prompt and `helpful_samples` to each helpfulness prompt, check them, publish."""
    asked = [
        ReplyRequest(
            row["row_id"], PromptKind(row["kind"]), sample, prompt_in(row), _seed(inputs.seed, row["row_id"], sample)
        )
        for row in fit(inputs.prompts.rows(), PromptKind.RED_TEAM, PromptKind.HELPFUL)
        for sample in range(settings.helpful_samples if row["kind"] == PromptKind.HELPFUL else 1)
    ]

    def answer(batch: Sequence[ReplyRequest]) -> list[Row]:
        questions = [prompts.reply(item.conversation) for item in batch]
        replies = ask(engine, questions, [item.seed for item in batch], settings.sampling)
        return [_row(item, reply) for item, reply in zip(batch, replies, strict=True)]

    rows = out.map("replies", asked, answer, chunk=inputs.chunk)
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


@dataclass(frozen=True)
class Responses(Stage):
    """The stage as a run has it."""

    code = CODE

    def settings(self, recipe: Recipe) -> ResponseSettings:
        """See `Stage.settings`."""
        return recipe.responses

    def inputs(self, recipe: Recipe) -> tuple[str, ...]:
        """See `Stage.inputs`."""
        return (PROMPTS,)

    def reads(self, work: Work) -> Reads:
        """See `Stage.reads`."""
        return Reads({"assistant": work.assistant})

    def run(self, work: Work, out: StageFolder) -> Artefact:
        """See `Stage.run`."""
        recipe = work.recipe
        inputs = ResponseInputs(recipe.seed, work.artefact(PROMPTS), recipe.engine.batch_size)
        return run(recipe.responses, inputs, work.engine(work.assistant), out)

    def questions(self, recipe: Recipe) -> tuple[QuestionKind, ...]:
        """Every prompt by itself."""
        numbers = {PromptKind.RED_TEAM: 1, PromptKind.HELPFUL: recipe.responses.helpful_samples}
        names = {PromptKind.RED_TEAM: "red-team", PromptKind.HELPFUL: "helpful"}
        assistant, most = recipe.models.assistant, recipe.responses.sampling.max_tokens
        return tuple(
            QuestionKind(REPLY, f"replies to {names[kind]} prompts", Role.ASSISTANT, assistant, (kind,), number, most)
            for kind, number in numbers.items()
        )

    def few(self, recipe: Recipe) -> Recipe:
        """See `Stage.few`."""
        samples = min(1, recipe.responses.helpful_samples)
        return recipe.model_copy(update={"responses": recipe.responses.model_copy(update={"helpful_samples": samples})})
