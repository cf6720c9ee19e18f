"""The judge that stage 09-measure asks about replies, as a run has it: which model, what it reads, what it is asked.

It judges where the recipe says `measure.grader: judge`. `solon.evals.judged_answers` asks it. Nothing that it says
reaches a stage that trains.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from solon import prompts
from solon.config.builtin import measure_questions_path
from solon.config.model_spec import ModelSpec
from solon.config.recipe import JUDGE_GRADER, Recipe
from solon.constitution.constitution import Constitution
from solon.conversation import Role
from solon.engines.base import TokenBudget, count_many
from solon.evals.judged_answers import COMPARISONS, JUDGEMENTS, JudgeInputs
from solon.evals.reply_questions import ReplyQuestion, ReplyQuestions, read_reply_questions
from solon.feedback.ask import STUB, bare_tokens
from solon.feedback.letters import letter_tokens
from solon.runs.evaluation_rows import BaselineComparison, ComparedAs, ReplyJudgement
from solon.runs.rows import PromptKind
from solon.stages.plan import language_models_of
from solon.stages.questions import QuestionKind
from solon.stages.stage import ConstitutionEdit, QuestionCount, Work

PRETRAINED, ASSISTANT = "pretrained", "assistant"
"""Models that are measured and not trained."""
YES_OR_NO, AGAINST_BASELINE = "yes-or-no", "against-baseline"
"""The names of the questions to the judge."""
JUDGE_KEY, QUESTIONS_KEY = "judge of replies", "questions about replies"
"""The entries in the key of a measured stage that say which judge read the replies, and by which questions."""
ORDERS = 2
"""Every question is put in both orders of its options."""


def measured_names(recipe: Recipe) -> tuple[str, ...]:
    """The models that are measured, in the order of training, as results name them.

    Where one model is both the pretrained model and the assistant, it is measured once, as the assistant.
    """
    models = recipe.models
    given = (ASSISTANT,) if models.pretrained == models.assistant else (PRETRAINED, ASSISTANT)
    return (*given, *language_models_of(recipe))


def judge_of(recipe: Recipe) -> str | None:
    """The model that judges replies, as the recipe names it; None stands for the assistant."""
    return recipe.measure.judge or recipe.models.judges[0]


def judge_inputs(work: Work, baseline: str | None = None) -> JudgeInputs | None:
    """The judge and its questions; None where the recipe has another grader, or none."""
    recipe = work.recipe
    if recipe.measure.grader != JUDGE_GRADER:
        return None
    questions, model = read_reply_questions(recipe.measure.questions), work.model(judge_of(recipe))
    return JudgeInputs(lambda: work.engine(model), questions, recipe.seed, baseline, recipe.engine.batch_size)


def read_by_judge(work: Work) -> dict[str, Path | ModelSpec]:
    """The judge and the file of its questions, which belong to the key of the stage; empty without a judge."""
    recipe = work.recipe
    if recipe.measure.grader != JUDGE_GRADER:
        return {}
    return {
        JUDGE_KEY: work.model(judge_of(recipe)),
        QUESTIONS_KEY: measure_questions_path(recipe.measure.questions),
    }


def questions_to_judge(recipe: Recipe) -> Iterator[QuestionKind]:
    """What the judge is asked about the replies of all models to a prompt; nothing without a judge."""
    if recipe.measure.grader != JUDGE_GRADER:
        return
    asked, models = read_reply_questions(recipe.measure.questions), len(measured_names(recipe))
    judge = judge_of(recipe) or recipe.models.assistant
    for kind, name in ((PromptKind.HELD_OUT_HARMFUL, "harmful"), (PromptKind.HELD_OUT_BENIGN, "benign")):
        numbers = {
            YES_OR_NO: (f"yes or no about replies to held-out {name} prompts", models * len(asked.questions[kind]))
        }
        if recipe.measure.baseline is not None:
            numbers[AGAINST_BASELINE] = f"comparisons of replies to held-out {name} prompts", models - 1
        for question, (what, number) in numbers.items():
            beyond = partial(_beyond, question, asked, recipe.measure.sampling.max_tokens)
            yield QuestionKind(question, what, Role.ANSWER, judge, (kind,), ORDERS * number, 0, beyond, letter_tokens)


def _beyond(question: str, asked: ReplyQuestions, most: int, _: Constitution, engine: TokenBudget) -> int:
    """The most tokens that a question holds beyond its prompt: its words, and one reply or two of at most `most`."""
    if question == YES_OR_NO:
        about = [each for of_kind in asked.questions.values() for each in of_kind]
        return max(question_tokens(each, engine) for each in about) + most - bare_tokens(engine)
    compared = [each.question for of_kind in asked.principles.values() for each in of_kind]
    longest = max(count_many(engine, [prompts.against_baseline(STUB, text, "", "") for text in compared]))
    return longest + 2 * most - bare_tokens(engine)


def question_tokens(question: ReplyQuestion, engine: TokenBudget) -> int:
    """The tokens of a question about an empty reply to a stub of a prompt."""
    asked = prompts.about_reply_or_reference(STUB, "", question.text, question.options, question.reference)
    return max(count_many(engine, asked))


def judged_again(name: str, edit: ConstitutionEdit) -> Iterator[QuestionCount]:
    """The questions about replies of models that are trained again; `name` is the finished stage."""
    recipe, measured = edit.work.recipe, edit.finished[name]
    if recipe.measure.grader != JUDGE_GRADER:
        return
    judged = [row.model for row in measured.rows(ReplyJudgement, file=JUDGEMENTS)]
    again = sum(edit.touches((model,)) for model in judged)
    yield QuestionCount(YES_OR_NO, Role.ANSWER, ORDERS * len(judged), ORDERS * again)
    if recipe.measure.baseline is not None:
        rows = measured.rows(BaselineComparison, file=COMPARISONS)
        pairs = [(row.model, row.baseline) for row in rows if row.result is not ComparedAs.TIE]
        again = sum(edit.touches(pair) for pair in pairs)
        yield QuestionCount(AGAINST_BASELINE, Role.ANSWER, ORDERS * len(pairs), ORDERS * again)
