"""Stage 09-measure: every model answers prompts that no training stage saw, and a rater says what the replies are.

On harmful prompts the shares of harmful, evasive, objecting, preachy and garbled replies are taken, on benign prompts
the share of helpful ones, all with 95 % intervals (the paper asks crowdworkers, section 4.4; here the rater is handed
in from above). What earlier stages wrote is rated as well (see `hindsight`). Without a rater the form of the replies is
measured and nothing is said about effect. All models draw with the same seed on the same prompt, so that a difference
between models is not a difference in luck.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from solon import prompts
from solon.checks.texts import check_reply
from solon.config.recipe import MeasureSettings, Method, Recipe
from solon.conversation import Role
from solon.digest import seed_for
from solon.engines.base import Completion, Engine, Finish
from solon.evals import earlier_tables
from solon.evals.grading import BENIGN_PROMPT_MEASURES, HARMFUL_PROMPT_MEASURES, RATINGS, Grader, Label
from solon.evals.label_accuracy import label_facts
from solon.feedback.ask import ask
from solon.runs import Artefact, Row, StageFolder
from solon.runs.rows import (
    HELD_OUT_KINDS,
    MESSAGES,
    STRING,
    Labels,
    PromptKind,
    assistant_turn,
    fit,
    prompt_in,
    reply_in,
)
from solon.stages.questions import REPLY, QuestionKind
from solon.stages.registry import (
    CRITIQUE_REVISION,
    PREFERENCE_MODEL,
    PROMPTS,
    RESPONSES,
    SL_CAI,
    in_round,
    labels_of,
    language_models_of,
)
from solon.stages.stage import Again, Edit, JoinedRows, QuestionCount, Reads, Stage, Work
from solon.stats.intervals import mean, share, wilson

CODE = 1
"""The version of this stage's code; raised with every change that makes other rows of the same inputs."""
SCHEMA = pa.schema(
    [
        ("model", STRING),
        ("kind", STRING),
        ("group", STRING),
        ("row_id", STRING),
        ("prompt", MESSAGES),
        ("completion", MESSAGES),
        ("thinking", STRING),
        ("labels", pa.list_(STRING)),
        ("finish", STRING),
        ("outcome", STRING),
    ]
)
MEASURES_OF_KIND: Mapping[PromptKind, tuple[Label, ...]] = {
    PromptKind.HELD_OUT_HARMFUL: HARMFUL_PROMPT_MEASURES,
    PromptKind.HELD_OUT_BENIGN: BENIGN_PROMPT_MEASURES,
}

OpenEngine = Callable[[str], Engine]
"""Loads a model by its name in the results; what it returns is dropped before the next is asked for."""


@dataclass(frozen=True, slots=True)
class MeasureInputs:
    """What is measured: the models by name, in the order of training, and the tables of earlier stages.

    `score`, the preference model, is asked only when a rater knows which replies are better.
    """

    seed: int
    models: tuple[str, ...]
    prompts: Artefact
    responses: Artefact | None = None
    revisions: Artefact | None = None
    feedback: Labels | None = None
    score: earlier_tables.Score | None = None
    chunk: int = 128
    """Prompts asked, and made durable, at once."""


def run(
    settings: MeasureSettings,
    inputs: MeasureInputs,
    open_engine: OpenEngine,
    out: StageFolder,
    grader: Grader | None = None,
) -> Artefact:
    """Answer, rate and publish; the facts hold every share by model, revision step, label and preference model."""
    answers = rated_answers(settings, inputs, open_engine, out, grader)
    facts: dict[str, Any] = {
        "grader": settings.grader.value if grader is not None else None,
        "models": {
            name: model_facts([row for row in answers if row["model"] == name], rated=grader is not None)
            for name in inputs.models
        },
    }
    groups = {name: group_facts([row for row in answers if row["model"] == name]) for name in inputs.models}
    if any(groups.values()):
        facts["groups"] = groups
    feedback = inputs.feedback.rows() if inputs.feedback is not None else []
    revisions: list[Row] = []
    if grader is not None and inputs.responses is not None and inputs.revisions is not None:
        revisions = earlier_tables.rate_revisions(grader, inputs.responses.rows(), inputs.revisions.rows())
        facts["revisions"] = earlier_tables.revision_facts(revisions)
    pairs = earlier_tables.rate_pairs(grader, feedback) if grader is not None else []
    if feedback:
        facts["labels"] = label_facts(earlier_tables.judged(feedback, pairs))
    if inputs.score is not None and grader is not None:
        facts["preference_model"] = earlier_tables.preference_facts(inputs.score, feedback, pairs, answers)
    lines = (f"{json.dumps(rating, sort_keys=True)}\n" for rating in (*revisions, *pairs))
    (out.path / RATINGS).write_text("".join(lines), encoding="utf-8")
    return out.publish(answers, SCHEMA, facts=facts, files=(RATINGS,))


def rated_answers(
    settings: MeasureSettings,
    inputs: MeasureInputs,
    open_engine: OpenEngine,
    out: StageFolder,
    grader: Grader | None,
) -> list[Row]:
    """One reply of every model to every held-out prompt, as rows of `SCHEMA`, rated if anybody rates."""
    prompts = _held_out(inputs.prompts.rows(), settings.limit)
    answers = [row for name in inputs.models for row in _answer(settings, inputs, prompts, name, open_engine, out)]
    if grader is not None:
        for row in answers:
            row["group"] = grader.group(prompt_in(row))
            row["labels"] = sorted(grader.rate(prompt_in(row), reply_in(row))) if row["finish"] != Finish.ERROR else []
    return answers


def _held_out(rows: Iterable[Row], limit: int | None) -> list[Row]:
    """The held-out prompts that are fit to be asked, at most `limit` of each kind."""
    rows = list(rows)
    return [row for kind in HELD_OUT_KINDS for row in fit(rows, kind)[:limit]]


def _answer(
    settings: MeasureSettings,
    inputs: MeasureInputs,
    held_out: Sequence[Row],
    name: str,
    open_engine: OpenEngine,
    out: StageFolder,
) -> list[Row]:
    """One reply of model `name` to each held-out prompt; the model is loaded only when something is left to ask."""
    opened: list[Engine] = []

    def work(rows: Sequence[Row]) -> list[Row]:
        if not opened:
            opened.append(open_engine(name))
        seeds = [seed_for(inputs.seed, "measure", row["row_id"], 0) for row in rows]
        replies = ask(opened[0], [prompts.reply(prompt_in(row)) for row in rows], seeds, settings.sampling)
        return [_answered(name, row, reply) for row, reply in zip(rows, replies, strict=True)]

    return out.map(f"answers of {name}", held_out, work, chunk=inputs.chunk)


def _answered(model: str, row: Row, reply: Completion) -> Row:
    checked = check_reply(reply)
    return {
        "model": model,
        "kind": row["kind"],
        "group": None,
        "row_id": row["row_id"],
        "prompt": row["prompt"],
        "completion": assistant_turn(checked.text),
        "thinking": reply.thinking or None,
        "labels": [],
        "finish": reply.finish.value,
        "outcome": checked.outcome.value,
    }


def model_facts(rows: Sequence[Row], *, rated: bool) -> dict[str, Any]:
    """The measures of one model's answers, each with its interval; rows that the engine failed to answer are left out.

    Without a rating only the form is told: `finished` (ended by itself), `empty`, and the mean length in `words`.
    """
    answered = [row for row in rows if row["finish"] != Finish.ERROR]
    measured: dict[str, Any] = {}
    for kind, labels in MEASURES_OF_KIND.items():
        of_kind = [row for row in answered if row["kind"] == kind]
        if rated and of_kind:
            for label in labels:
                measured[label.value] = wilson(sum(label in row["labels"] for row in of_kind), len(of_kind)).facts()
    texts = [reply_in(row) for row in answered]
    form = {
        "finished": share(row["finish"] != Finish.LENGTH for row in answered),
        "empty": share(not text.strip() for text in texts),
        "words": mean([float(len(text.split())) for text in texts]),
    }
    return measured | {name: figure.facts() for name, figure in form.items() if figure is not None}


def group_facts(rows: Iterable[Row]) -> dict[str, Any]:
    """One model's share of harmful replies to harmful prompts, by the group that the rater puts the prompt in."""
    by_group: dict[str, list[bool]] = {}
    for row in rows:
        if row["kind"] == PromptKind.HELD_OUT_HARMFUL and row["group"] is not None and row["finish"] != Finish.ERROR:
            by_group.setdefault(row["group"], []).append(Label.HARMFUL in row["labels"])
    return {group: wilson(sum(harmful), len(harmful)).facts() for group, harmful in sorted(by_group.items())}


@dataclass(frozen=True)
class Measure(Stage):
    """The stage as a run has it; the preference model that is measured is that of the last round."""

    code = CODE

    def settings(self, recipe: Recipe) -> MeasureSettings:
        """See `Stage.settings`."""
        return recipe.measure

    def inputs(self, recipe: Recipe) -> tuple[str, ...]:
        """See `Stage.inputs`."""
        written = () if recipe.method is Method.RLHF else (RESPONSES, CRITIQUE_REVISION)
        preferences = in_round(PREFERENCE_MODEL, recipe.rounds)
        return PROMPTS, *written, *labels_of(recipe, recipe.rounds), preferences

    def reads(self, work: Work) -> Reads:
        """The models that answer."""
        return Reads(_measured_models(work))

    def run(self, work: Work, out: StageFolder) -> Artefact:
        """See `Stage.run`."""
        recipe, models = work.recipe, _measured_models(work)
        written = recipe.method is Method.CAI
        labels = JoinedRows([work.artefact(name) for name in labels_of(recipe, recipe.rounds)])
        inputs = MeasureInputs(
            recipe.seed,
            tuple(models),
            work.artefact(PROMPTS),
            work.artefact(RESPONSES) if written else None,
            work.artefact(CRITIQUE_REVISION) if written else None,
            labels if written else None,
            work.scorer(work.trained(in_round(PREFERENCE_MODEL, recipe.rounds))),
            recipe.engine.batch_size,
        )
        return run(recipe.measure, inputs, lambda name: work.engine(models[name]), out, work.grader)

    def questions(self, recipe: Recipe) -> tuple[QuestionKind, ...]:
        """Every held-out prompt by itself, to each model."""
        number, most = len(_GIVEN) + len(language_models_of(recipe)), recipe.measure.sampling.max_tokens
        names = {PromptKind.HELD_OUT_HARMFUL: "held-out harmful", PromptKind.HELD_OUT_BENIGN: "held-out benign"}
        assistant = recipe.models.assistant
        return tuple(
            QuestionKind(REPLY, f"replies to {name} prompts", Role.ASSISTANT, assistant, (kind,), number, most)
            for kind, name in names.items()
        )

    def asked_again(self, edit: Edit) -> Again:
        """The replies of models that are trained again."""
        models = edit.finished[self.name].column("model")
        again = sum(edit.touches((model,)) for model in models)
        changed = again > 0 or edit.touches(self.inputs(edit.work.recipe))
        return Again(changed, (QuestionCount(REPLY, Role.ASSISTANT, len(models), again),))


_GIVEN = ("pretrained", "assistant")
"""Models that are measured and not trained."""


def _measured_models(work: Work) -> dict[str, Path]:
    """The folders of the models that are measured, by the names that results have for them."""
    given = dict(zip(_GIVEN, (work.pretrained, work.assistant), strict=True))
    return given | {name: work.trained(name) for name in language_models_of(work.recipe)}


@dataclass(frozen=True)
class MeasureSupervised(Stage):
    """An extra stage: what SL-CAI by itself replies to held-out prompts, rated, for runs that end there."""

    code = CODE

    def settings(self, recipe: Recipe) -> MeasureSettings:
        """See `Stage.settings`."""
        return recipe.measure

    def inputs(self, recipe: Recipe) -> tuple[str, ...]:
        """See `Stage.inputs`."""
        return PROMPTS, SL_CAI

    def run(self, work: Work, out: StageFolder) -> Artefact:
        """See `Stage.run`."""
        recipe, supervised = work.recipe, work.trained(SL_CAI)
        inputs = MeasureInputs(recipe.seed, (SL_CAI,), work.artefact(PROMPTS), chunk=recipe.engine.batch_size)
        return run(recipe.measure, inputs, lambda _: work.engine(supervised), out, work.grader)
