"""Stage 02-responses: the helpful-only assistant answers (paper, sections 3.1 and 3.2).

Each red-team prompt gets one reply, the first text of its chain of critiques and revisions. Each helpfulness prompt
gets several, which are mixed into SL-CAI training so that the model stays as helpful as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from solon import prompts
from solon.checks.texts import check_reply
from solon.config.recipe import Recipe, ResponseSettings, SamplingParams
from solon.conversation import Role
from solon.digest import seed_for
from solon.engines.base import Completion, Engine
from solon.feedback.ask import ask
from solon.runs import Artefact, StageFolder
from solon.runs.outcome import count_defects
from solon.runs.rows import TRAINING_KINDS, PromptKind, PromptRow, ReplyRow, good_of
from solon.stages.plan import PROMPTS
from solon.stages.questions import REPLY, QuestionKind
from solon.stages.stage import Stage, StageDependencies, Work


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


@dataclass(frozen=True, slots=True)
class AnswerPrompts:
    """Answers prompts, a chunk at a time; it can be sent to another process where the engine can."""

    engine: Engine
    sampling: SamplingParams

    def __call__(self, batch: Sequence[ReplyRequest]) -> list[ReplyRow]:
        """The rows of these requests."""
        questions = [prompts.reply(item.prompt.prompt) for item in batch]
        replies = ask(self.engine, questions, [item.seed for item in batch], self.sampling)
        return [_row(item, reply) for item, reply in zip(batch, replies, strict=True)]


def run(settings: ResponseSettings, inputs: ResponseInputs, engine: Engine, out: StageFolder) -> Artefact:
    """Draw one reply to each red-team prompt and `helpful_samples` to each helpfulness prompt, check them, publish."""
    asked = [
        ReplyRequest(row, sample, seed_for(inputs.seed, "responses", row.row_id, sample))
        for row in good_of(inputs.prompts.rows(PromptRow), *TRAINING_KINDS)
        for sample in range(settings.helpful_samples if row.kind is PromptKind.HELPFUL else 1)
    ]
    rows = out.map(
        "replies", asked, AnswerPrompts(engine, settings.sampling), row=ReplyRow, chunk=inputs.chunk, unit="replies"
    )
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


@dataclass(frozen=True)
class Responses(Stage):
    """The stage as a run has it."""

    section = "responses"
    needs = (PROMPTS,)

    def reads(self, work: Work) -> StageDependencies:
        return StageDependencies({"assistant": work.assistant})

    def run(self, work: Work, out: StageFolder) -> Artefact:
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
        samples = min(1, recipe.responses.helpful_samples)
        return recipe.model_copy(update={"responses": recipe.responses.model_copy(update={"helpful_samples": samples})})
