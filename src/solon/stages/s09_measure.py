"""Stage 09-measure: every model answers prompts that no training stage saw, and a grader or a judge labels the replies.

On harmful prompts the shares of harmful, evasive, objecting, preachy and garbled replies are taken, on benign prompts
the share of helpful ones, all with 95 % intervals (the paper asks crowdworkers, section 4.4; here the caller passes the
grader). Tables of earlier stages are graded as well (`solon.evals.earlier_tables`). For real models a judge takes the
place of the grader: it answers yes-or-no questions about each reply, and compares it with the reply of a baseline
(`solon.evals.judged_answers`). Without either only the form of the replies is measured. All models use the same seed
for the same prompt, so that models differ by more than chance.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from solon import prompts
from solon.checks.texts import check_reply
from solon.config.model_spec import ModelSpec
from solon.config.recipe import MeasureSettings, Method, Recipe
from solon.conversation import Role
from solon.digest import seed_for
from solon.engines.base import Completion, Engine, Finish
from solon.evals import earlier_tables
from solon.evals.grading import RATINGS, Grader, refuse_unknown
from solon.evals.judged_answers import JudgeInputs, judge_answers
from solon.evals.label_accuracy import label_facts
from solon.evals.measures import group_facts, model_facts, plugin_measures
from solon.feedback.ask import ask
from solon.runs import Artefact, StageFolder
from solon.runs.evaluation_rows import AnswerRow, RevisionRating
from solon.runs.records import to_record
from solon.runs.rows import HELD_OUT_KINDS, LabelRow, PromptKind, PromptRow, ReplyRow, RevisionRow, Rows, good_of
from solon.stages.plan import (
    CRITIQUE_REVISION,
    PREFERENCE_MODEL,
    PROMPTS,
    RESPONSES,
    SL_CAI,
    in_round,
    labels_of,
)
from solon.stages.questions import REPLY, QuestionKind
from solon.stages.reply_judging import (
    ASSISTANT,
    PRETRAINED,
    judge_inputs,
    judged_again,
    measured_names,
    questions_to_judge,
    read_by_judge,
)
from solon.stages.stage import Again, ConstitutionEdit, JoinedRows, QuestionCount, Stage, StageDependencies, Work

OpenEngine = Callable[[str], Engine]
"""Loads a model by its name in the results; what it returns is dropped before the next is asked for."""


@dataclass(frozen=True, slots=True)
class MeasureInputs:
    """What is measured: the models by name, in the order of training, and the tables of earlier stages.

    `score` loads the preference model. It is called after the replies, and only where a grader knows which are better.
    """

    seed: int
    models: tuple[str, ...]
    prompts: Artefact
    responses: Artefact | None = None
    revisions: Artefact | None = None
    feedback: Rows[LabelRow] | None = None
    score: Callable[[], earlier_tables.Score] | None = None
    chunk: int = 128
    """Prompts asked, and made durable, at once."""


def run(
    settings: MeasureSettings,
    inputs: MeasureInputs,
    open_engine: OpenEngine,
    out: StageFolder,
    grader: Grader | None = None,
    judge: JudgeInputs | None = None,
) -> Artefact:
    """Answer, rate and publish; the facts hold every share by model, revision step, label and preference model."""
    answers = rated_answers(settings, inputs, open_engine, out, grader)
    judged = judge_answers(judge, answers, out) if judge is not None else None
    answers = judged.answers if judged is not None else answers
    rated = grader is not None or judged is not None
    facts: dict[str, Any] = {
        "grader": settings.grader if rated else None,
        "models": {
            name: model_facts(
                [row for row in answers if row.model == name],
                rated=rated,
                answered=judged.answered(name) if judged is not None else None,
            )
            for name in inputs.models
        },
    }
    if judged is not None:
        facts |= judged.facts()
    groups = {name: group_facts([row for row in answers if row.model == name]) for name in inputs.models}
    if any(groups.values()):
        facts["groups"] = groups
    feedback = inputs.feedback.rows(LabelRow) if inputs.feedback is not None else []
    revisions: list[RevisionRating] = []
    if grader is not None and inputs.responses is not None and inputs.revisions is not None:
        revisions = earlier_tables.rate_revisions(
            grader, inputs.responses.rows(ReplyRow), inputs.revisions.rows(RevisionRow)
        )
        facts["revisions"] = earlier_tables.revision_facts(revisions)
    pairs = earlier_tables.rate_pairs(grader, feedback) if grader is not None else []
    if feedback:
        facts["labels"] = label_facts(earlier_tables.judged(feedback, pairs))
    if inputs.score is not None and grader is not None:
        facts["preference_model"] = earlier_tables.preference_facts(inputs.score(), feedback, pairs, answers)
    lines = (f"{json.dumps(to_record(rating), sort_keys=True)}\n" for rating in (*revisions, *pairs))
    (out.path / RATINGS).write_text("".join(lines), encoding="utf-8")
    tables = judged.write(out) if judged is not None else ()
    return out.publish(answers, AnswerRow, facts=facts, files=(RATINGS, *tables))


def rated_answers(
    settings: MeasureSettings, inputs: MeasureInputs, open_engine: OpenEngine, out: StageFolder, grader: Grader | None
) -> list[AnswerRow]:
    """One reply of every model to every held-out prompt, with labels if there is a grader.

    Raises StageError where the grader does not know a prompt, before any model answers.
    """
    rows = inputs.prompts.rows(PromptRow)
    held_out = [row for kind in HELD_OUT_KINDS for row in good_of(rows, kind)[: settings.limit]]
    refuse_unknown(grader, held_out, settings.grader)
    answers = [row for name in inputs.models for row in _answer(settings, inputs, held_out, name, open_engine, out)]
    return answers if grader is None else [_graded(row, grader) for row in answers]


def _graded(row: AnswerRow, grader: Grader) -> AnswerRow:
    labels = grader.rate(row.prompt, row.completion) if row.finish != Finish.ERROR else ()
    return replace(row, group=grader.group(row.prompt), labels=tuple(sorted(labels)))


def _answer(
    settings: MeasureSettings,
    inputs: MeasureInputs,
    held_out: Sequence[PromptRow],
    name: str,
    open_engine: OpenEngine,
    out: StageFolder,
) -> list[AnswerRow]:
    """One reply of model `name` to each held-out prompt; the model is loaded only when something is left to ask."""
    opened: list[Engine] = []

    def work(rows: Sequence[PromptRow]) -> list[AnswerRow]:
        if not opened:
            opened.append(open_engine(name))
        seeds = [answer_seed(inputs.seed, row.row_id) for row in rows]
        replies = ask(opened[0], [prompts.reply(row.prompt) for row in rows], seeds, settings.sampling)
        return [_answered(name, row, reply) for row, reply in zip(rows, replies, strict=True)]

    return out.map(f"answers of {name}", held_out, work, row=AnswerRow, chunk=inputs.chunk, unit=f"replies of {name}")


def answer_seed(seed: int, row_id: str) -> int:
    """The seed of every model's reply to a held-out prompt."""
    return seed_for(seed, "measure", row_id, 0)


def _answered(model: str, row: PromptRow, reply: Completion) -> AnswerRow:
    checked = check_reply(reply)
    return AnswerRow(
        model=model,
        kind=row.kind,
        row_id=row.row_id,
        prompt=row.prompt,
        completion=checked.text,
        thinking=reply.thinking or None,
        finish=reply.finish.value,
        outcome=checked.outcome,
    )


@dataclass(frozen=True)
class MeasureModels(Stage):
    """The stage as a run has it; the preference model that is measured is that of the last round."""

    section = "measure"

    def inputs(self, recipe: Recipe) -> tuple[str, ...]:
        written = () if recipe.method is Method.RLHF else (RESPONSES, CRITIQUE_REVISION)
        preferences = in_round(PREFERENCE_MODEL, recipe.rounds)
        return PROMPTS, *written, *labels_of(recipe, recipe.rounds), preferences

    def reads(self, work: Work) -> StageDependencies:
        """The models that answer, the judge with its questions, and the measures of plug-ins."""
        added = plugin_measures()
        return StageDependencies(measured_models(work) | read_by_judge(work), {"measures": added} if added else {})

    def run(self, work: Work, out: StageFolder) -> Artefact:
        recipe, models = work.recipe, measured_models(work)
        written = recipe.method is Method.CAI
        labels = JoinedRows([work.artefact(name) for name in labels_of(recipe, recipe.rounds)])
        inputs = MeasureInputs(
            recipe.seed,
            tuple(models),
            work.artefact(PROMPTS),
            work.artefact(RESPONSES) if written else None,
            work.artefact(CRITIQUE_REVISION) if written else None,
            labels if written else None,
            lambda: work.scorer(work.trained(in_round(PREFERENCE_MODEL, recipe.rounds))),
            recipe.engine.batch_size,
        )
        judge = judge_inputs(work, recipe.measure.baseline)
        return run(recipe.measure, inputs, lambda name: work.engine(models[name]), out, work.grader, judge)

    def questions(self, recipe: Recipe) -> tuple[QuestionKind, ...]:
        """Every held-out prompt by itself, to each model, and what a judge is asked about the replies.

        One of the models is the assistant, which stands in for the others.
        """
        number, most = len(measured_names(recipe)), recipe.measure.sampling.max_tokens
        names = {PromptKind.HELD_OUT_HARMFUL: "held-out harmful", PromptKind.HELD_OUT_BENIGN: "held-out benign"}
        assistant = recipe.models.assistant
        replies = tuple(
            QuestionKind(
                REPLY,
                f"replies to {name} prompts",
                Role.ASSISTANT,
                assistant,
                (kind,),
                number,
                most,
                own_share=1 / number,
            )
            for kind, name in names.items()
        )
        return (*replies, *questions_to_judge(recipe))

    def asked_again(self, edit: ConstitutionEdit) -> Again:
        """The replies of models that are trained again."""
        models = [row.model for row in edit.finished[self.name].rows(AnswerRow)]
        again = sum(edit.touches((model,)) for model in models)
        changed = again > 0 or edit.touches(self.inputs(edit.work.recipe))
        return Again(
            changed, (QuestionCount(REPLY, Role.ASSISTANT, len(models), again), *judged_again(self.name, edit))
        )


def measured_models(work: Work) -> dict[str, ModelSpec]:
    """The models that are measured, by the names that results have for them."""
    given = {PRETRAINED: ModelSpec.parse(work.pretrained), ASSISTANT: work.assistant}
    return {name: given.get(name) or work.policy(name) for name in measured_names(work.recipe)}


@dataclass(frozen=True)
class MeasureSupervised(Stage):
    """An extra stage: what SL-CAI by itself replies to held-out prompts, rated, for runs that end there."""

    section = "measure"
    needs = PROMPTS, SL_CAI

    def reads(self, work: Work) -> StageDependencies:
        return StageDependencies(read_by_judge(work))

    def run(self, work: Work, out: StageFolder) -> Artefact:
        recipe, supervised = work.recipe, work.trained(SL_CAI)
        inputs = MeasureInputs(recipe.seed, (SL_CAI,), work.artefact(PROMPTS), chunk=recipe.engine.batch_size)
        return run(recipe.measure, inputs, lambda _: work.engine(supervised), out, work.grader, judge_inputs(work))
