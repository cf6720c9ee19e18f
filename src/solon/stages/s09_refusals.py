"""Stage refusals: what every model replies to benign prompts that sound harmful, measured by rules and by a judge.

A model that was trained to be harmless may refuse too much ("How do I kill a process that hangs?"). The paper's
crowdworkers were told to prefer thoughtful replies for that reason (section 4.4). Here each model of the run answers
benign prompts that contain words of harm. Rules say which replies refuse, evade, or carry boilerplate; with
`measure.grader: judge` the judge is asked the same, and the two are compared. The stage is part of a run when its
recipe has `refusals`, and `solon refusals` adds it to any run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from solon import prompts
from solon.checks.texts import check_reply
from solon.config.builtin import refusal_questions_path
from solon.config.model_spec import ModelSpec
from solon.config.recipe import JUDGE_GRADER, Recipe, RefusalSettings
from solon.constitution.constitution import Constitution
from solon.conversation import Conversation, Role
from solon.digest import seed_for
from solon.engines.base import Completion, Engine, Finish, TokenBudget
from solon.evals.judged_answers import JUDGEMENTS, JudgeInputs
from solon.evals.refusal_measures import by_rules, refusal_figures, reply_key, rules_and_judge, with_repeats
from solon.evals.refusal_questions import read_refusal_questions
from solon.evals.reply_judge import ReplyJudge
from solon.evals.reply_questions import ReplyQuestion
from solon.feedback.ask import ask, bare_tokens
from solon.feedback.letters import letter_tokens
from solon.feedback.soft_labels import Judge
from solon.runs import Artefact, StageFolder
from solon.runs.evaluation_rows import AnswerRow, ReplyJudgement
from solon.runs.refusal_rows import RefusalFacts, RefusalRow
from solon.runs.rows import PromptKind
from solon.runs.table import write_table
from solon.sources.entries import located
from solon.sources.prompt_files import read_prompts
from solon.sources.prompt_sources import names_in
from solon.stages.plan import language_models_of
from solon.stages.questions import REPLY, DrawnPrompts, QuestionKind
from solon.stages.reply_judging import ORDERS, YES_OR_NO, judge_of, measured_names, question_tokens
from solon.stages.s09_measure import measured_models
from solon.stages.stage import Again, ConstitutionEdit, QuestionCount, Stage, StageDependencies, Work

SOUNDS_HARMFUL = "benign prompts that sound harmful"


@dataclass(frozen=True, slots=True)
class RefusalInputs:
    """The prompts, the models by name, who loads them, and the judge with its questions, if any."""

    seed: int
    prompts: Sequence[Conversation]
    models: tuple[str, ...]
    load: Callable[[str], Engine]
    judge: JudgeInputs | None = None
    chunk: int = 128


@dataclass(frozen=True, slots=True)
class _Sample:
    """One reply to be written."""

    prompt: Conversation
    number: int


def run(settings: RefusalSettings, inputs: RefusalInputs, out: StageFolder) -> Artefact:
    """Have every model answer, apply the rules, ask the judge, and publish all replies with the figures."""
    asked = [_Sample(prompt, number) for prompt in inputs.prompts for number in range(settings.samples)]
    by_model = {name: _with_openings(_answered(settings, inputs, name, asked, out)) for name in inputs.models}
    judgements, judge = _judged(inputs, by_model, out)
    rows = [row for own in by_model.values() for row in own]
    facts = RefusalFacts(
        prompts=len(inputs.prompts),
        source=settings.prompts,
        models={name: refusal_figures(own, judgements) for name, own in by_model.items()},
        judge=judge,
        agreement=rules_and_judge(rows, judgements) if judge is not None else None,
    )
    if judge is not None:
        write_table(out.path / JUDGEMENTS, judgements, ReplyJudgement)
    return out.publish(rows, RefusalRow, facts=facts.record(), files=[JUDGEMENTS] if judge is not None else [])


def prompts_in(settings: RefusalSettings) -> list[Conversation]:
    """The different prompts of the source, in order, up to the limit; raises InputError for a faulty source."""
    read = (read_prompts(located(name)) for name in names_in(settings.prompts))
    found = {each.conversation.row_id: each.conversation for file in read for each in file.prompts}
    return list(found.values())[: settings.limit]


def _answered(
    settings: RefusalSettings, inputs: RefusalInputs, name: str, asked: Sequence[_Sample], out: StageFolder
) -> list[RefusalRow]:
    """All replies of one model; when this returns, nothing here holds the model, so that the next has its memory."""
    work, phase = partial(_replies, settings, inputs, name, []), f"replies of {name}"
    return out.map(phase, asked, work, row=RefusalRow, chunk=inputs.chunk, unit=phase)


def _replies(
    settings: RefusalSettings, inputs: RefusalInputs, name: str, opened: list[Engine], asked: Sequence[_Sample]
) -> list[RefusalRow]:
    """The replies of one model, which is loaded only when something is left to ask; all models have the same seeds."""
    if not opened:
        opened.append(inputs.load(name))
    seeds = [seed_for(inputs.seed, "refusals", each.prompt.row_id, each.number) for each in asked]
    completions = ask(opened[0], [prompts.reply(each.prompt) for each in asked], seeds, settings.sampling)
    return [_row(name, *each) for each in zip(asked, seeds, completions, strict=True)]


def _row(name: str, asked: _Sample, seed: int, reply: Completion) -> RefusalRow:
    checked = check_reply(reply)
    return RefusalRow(
        model=name,
        row_id=asked.prompt.row_id,
        sample=asked.number,
        prompt=asked.prompt,
        completion=checked.text,
        finish=reply.finish.value,
        seed=seed,
        outcome=checked.outcome,
        by_rule=by_rules(checked.text),
    )


def _with_openings(rows: Sequence[RefusalRow]) -> list[RefusalRow]:
    """One model's replies with what is known only when all are written; a failed reply says nothing."""
    found = with_repeats([row.completion if row.finish != Finish.ERROR else "" for row in rows])
    return [
        replace(row, stock_phrases=phrases, repeated_opening=repeated)
        for row, (phrases, repeated) in zip(rows, found, strict=True)
    ]


def _judged(
    inputs: RefusalInputs, by_model: Mapping[str, Sequence[RefusalRow]], out: StageFolder
) -> tuple[list[ReplyJudgement], str | None]:
    """What the judge says about every reply, and its name; nothing without a judge."""
    if inputs.judge is None:
        return [], None
    judge = Judge.of(inputs.judge.load())
    asks = ReplyJudge(judge, inputs.judge.questions, inputs.seed)
    found: list[ReplyJudgement] = []
    for name, rows in by_model.items():
        phase = f"questions about {name}"
        answers = [_answer(row) for row in rows]
        unit = f"replies of {name} judged"
        chunk = inputs.judge.questions.replies_in(inputs.judge.chunk)
        found += out.map(phase, answers, asks.judgements, row=ReplyJudgement, chunk=chunk, unit=unit)
    return found, judge.engine.name


def _answer(row: RefusalRow) -> AnswerRow:
    """A reply as the judge is given it."""
    model, reply_id = reply_key(row)
    return AnswerRow(
        model=model,
        kind=PromptKind.HELD_OUT_BENIGN,
        row_id=reply_id,
        prompt=row.prompt,
        completion=row.completion,
        finish=row.finish,
        outcome=row.outcome,
    )


@dataclass(frozen=True)
class Refusals(Stage):
    """The stage as a run has it."""

    section = "refusals"

    def settings(self, recipe: Recipe) -> RefusalSettings:
        """The recipe's, or the defaults where `solon refusals` adds the stage to a run that names none."""
        return recipe.refusals or RefusalSettings()

    def inputs(self, recipe: Recipe) -> tuple[str, ...]:
        return language_models_of(recipe)

    def reads(self, work: Work) -> StageDependencies:
        """The models, the prompts, and the judge with its questions."""
        recipe = work.recipe
        settings = self.settings(recipe)
        files = {name: work.source_hash(name) for name in names_in(settings.prompts)}
        judged: dict[str, Path | ModelSpec] = {}
        if recipe.measure.grader == JUDGE_GRADER:
            judged = {
                "judge of replies": work.model(judge_of(recipe)),
                "questions about refusals": refusal_questions_path(settings.questions),
            }
        return StageDependencies({**measured_models(work), **judged}, {"files": files})

    def run(self, work: Work, out: StageFolder) -> Artefact:
        recipe, models = work.recipe, measured_models(work)
        settings, judge = self.settings(recipe), None
        if recipe.measure.grader == JUDGE_GRADER:
            questions, model = read_refusal_questions(settings.questions), work.model(judge_of(recipe))
            judge = JudgeInputs(lambda: work.engine(model), questions, recipe.seed, chunk=recipe.engine.batch_size)
        inputs = RefusalInputs(
            recipe.seed,
            prompts_in(settings),
            tuple(models),
            lambda name: work.engine(models[name]),
            judge,
            recipe.engine.batch_size,
        )
        return run(settings, inputs, out)

    def questions(self, recipe: Recipe) -> tuple[QuestionKind, ...]:
        """Every prompt to each model, and what the judge is asked; sizes are taken for those of benign prompts."""
        if recipe.refusals is None:
            return ()
        settings, about = recipe.refusals, (PromptKind.HELD_OUT_BENIGN,)
        models = len(measured_names(recipe))
        replies = len(prompts_in(settings)) * settings.samples * models
        most, assistant = settings.sampling.max_tokens, recipe.models.assistant
        what, drawn = f"replies to {SOUNDS_HARMFUL}", DrawnPrompts(replies, (1.0,))
        written = QuestionKind(
            REPLY, what, Role.ASSISTANT, assistant, about, 1, most, drawn=drawn, own_share=1 / models
        )
        if recipe.measure.grader != JUDGE_GRADER:
            return (written,)
        asked = read_refusal_questions(settings.questions).questions[PromptKind.HELD_OUT_BENIGN]
        beyond = partial(_beyond_prompt, asked, most)
        judge, number = judge_of(recipe) or assistant, DrawnPrompts(replies * len(asked) * ORDERS, (1.0,))
        what = f"yes or no about replies to {SOUNDS_HARMFUL}"
        return written, QuestionKind(YES_OR_NO, what, Role.ANSWER, judge, about, 1, 0, beyond, letter_tokens, number)

    def asked_again(self, edit: ConstitutionEdit) -> Again:
        """The replies of models that are trained again, and the questions about them."""
        finished = edit.finished[self.name]
        rows = finished.rows(RefusalRow)
        again = sum(edit.touches((row.model,)) for row in rows)
        counts = [QuestionCount(REPLY, Role.ASSISTANT, len(rows), again)]
        if JUDGEMENTS in finished.manifest.files:
            judged = [edit.touches((row.model,)) for row in finished.rows(ReplyJudgement, file=JUDGEMENTS)]
            counts.append(QuestionCount(YES_OR_NO, Role.ANSWER, ORDERS * len(judged), ORDERS * sum(judged)))
        return Again(again > 0, tuple(counts))


def _beyond_prompt(asked: Sequence[ReplyQuestion], most: int, _: Constitution, engine: TokenBudget) -> int:
    """The most tokens that a question holds beyond its prompt: its words, and a reply of at most `most`."""
    return max(question_tokens(each, engine) for each in asked) + most - bare_tokens(engine)
