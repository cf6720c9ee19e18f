"""Asks judges comparisons with known answers (figures 4 and 9): at once, after reasoning, and by preference model.

The comparisons are those of the judge's check. A language model chooses a letter at once, after one chain of thought,
or by the mean probability of several (paper, section 2). A preference model scores both replies; it does not see the
principle. The first chain of thought is the same in both reasoned forms. Chains are drawn at temperature 1 as in the
paper, whatever the recipe draws labels at: at 0 several chains would be one chain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from solon.config.model_spec import ModelSpec, located
from solon.config.recipe import Clamping, FeedbackForm, FeedbackSettings, Recipe
from solon.constitution.constitution import Constitution
from solon.digest import seed_for
from solon.engines.base import Engine
from solon.engines.registry import identity_of, open_engine
from solon.engines.rounding import keyed, made_with
from solon.evals.judge_check.as_judge import CheckedJudge, JudgeSetup, is_right, judged_pair
from solon.evals.judge_check.known_answers import PlainComparison
from solon.evals.label_accuracy import JudgedPair
from solon.pipeline.session import finished
from solon.reward.scorer import open_scorer
from solon.runs import Artefact, Report, RunDirectory, StageFolder
from solon.runs.reproduction_rows import JudgeAnswerRow
from solon.runs.standalone_stage import run_standalone
from solon.stages.plan import PREFERENCE_MODEL
from solon.stats.log_odds import sigmoid
from solon.testbed.judge_questions import judge_questions

ANSWERED = "judge-answers"
CODE = 2
"""The version of this module; raise it with every change that gives other rows for the same inputs."""
TEMPERATURE = 1.0
"""Of chains of thought."""
LETTER, REASONED, SEVERAL, SCORES = "letter", "reasoned", "several-reasoned", "preference-model"


@dataclass(frozen=True, slots=True)
class JudgesToAsk:
    """The language models by name, the runs whose preference models answer too, and how much is asked."""

    models: Mapping[str, Path]
    scorers: Mapping[str, RunDirectory]
    questions: int | None
    reasonings: int


Asked = tuple[int, PlainComparison]
"""A comparison with its number; the better reply of an even one is shown as A."""


def ask_judges(
    folder: Path, recipe: Recipe, constitution: Constitution, judges: JudgesToAsk, report: Report
) -> Artefact:
    """Have every judge answer, in `folder`, or go on; RunError for a folder that was begun with something else."""
    found = judge_questions(recipe, constitution).limited(judges.questions).comparisons
    specs = {name: located(ModelSpec.parse(str(path))) for name, path in judges.models.items()}
    key: dict[str, object] = {
        "code": CODE,
        "seed": recipe.seed,
        "engine": keyed(recipe.engine),
        "feedback": recipe.feedback.model_dump(mode="json"),
        "constitution": constitution.hash,
        "models": {name: identity_of(spec) for name, spec in specs.items()},
        "scorers": {name: finished(run, PREFERENCE_MODEL).hash for name, run in judges.scorers.items()},
        "questions": len(found),
        "reasonings": judges.reasonings,
    }

    def work(out: StageFolder) -> Artefact:
        rows: list[JudgeAnswerRow] = []
        asked: list[Asked] = list(enumerate(found))

        def add(name: str, form: str, answer: Callable[[Sequence[Asked]], list[JudgedPair]]) -> None:
            def answered(chunk: Sequence[Asked]) -> list[JudgeAnswerRow]:
                return [_row(name, form, *each) for each in zip(chunk, answer(chunk), strict=True)]

            phase = f"{name}, {form}"
            rows.extend(out.map(phase, asked, answered, row=JudgeAnswerRow, chunk=64, unit=f"answers of {phase}"))

        def ask_model(name: str, engine: Engine) -> None:
            setup = partial(judge_setup, recipe, constitution)
            add(name, LETTER, partial(_by_letters, engine, [setup(FeedbackForm.LETTER, 0)]))
            thoughts = [setup(FeedbackForm.REASONED, number) for number in range(judges.reasonings)]
            add(name, REASONED, partial(_by_letters, engine, thoughts[:1]))
            add(name, SEVERAL, partial(_by_letters, engine, thoughts))

        for name, spec in specs.items():
            ask_model(name, open_engine(spec, recipe.engine))  # no variable holds it while the next is loaded
        for name, run in judges.scorers.items():
            add(name, SCORES, partial(_by_scores, finished(run, PREFERENCE_MODEL).path, recipe))
        return out.publish(rows, JudgeAnswerRow)

    return run_standalone(folder, ANSWERED, key, work, report, made_with(recipe.engine))


def judge_setup(recipe: Recipe, constitution: Constitution, form: FeedbackForm, number: int) -> JudgeSetup:
    """How a judge is asked in a form; the seed of chain of thought 0 is the recipe's."""
    drawn = recipe.feedback.reasoning.model_copy(update={"temperature": TEMPERATURE})
    settings = FeedbackSettings.model_validate(
        {**recipe.feedback.model_dump(), "form": form, "reasoning": drawn, "clamp": Clamping.OFF, "samples": 1}
    )
    seed = recipe.seed if number == 0 else seed_for(recipe.seed, "another reasoning", number)
    return JudgeSetup(settings, constitution, seed)


def _by_letters(engine: Engine, setups: Sequence[JudgeSetup], asked: Sequence[Asked]) -> list[JudgedPair]:
    """The mean probability over the setups; a setup without an answer does not count."""
    pairs = [one.pair(better_is_a=number % 2 == 0) for number, one in asked]
    by_setup = [CheckedJudge(engine, setup).compare(pairs) for setup in setups]
    found = []
    for place, (number, one) in enumerate(asked):
        single = [judged_pair(answers[place], number % 2 == 0, one.principle.id).p_a for answers in by_setup]
        known = [p_a for p_a in single if p_a is not None]
        mean = math.fsum(known) / len(known) if known else None
        found.append(JudgedPair(mean, None, None, number % 2 == 0, one.principle.id))
    return found


def _by_scores(folder: Path, recipe: Recipe, asked: Sequence[Asked]) -> list[JudgedPair]:
    model = open_scorer(folder, recipe.engine).model
    better = model.score([one.conversation.with_reply(one.better) for _, one in asked])
    worse = model.score([one.conversation.with_reply(one.worse) for _, one in asked])
    ahead = [sigmoid(float(high) - float(low)) for high, low in zip(better, worse, strict=True)]
    return [
        JudgedPair(p if number % 2 == 0 else 1 - p, None, None, number % 2 == 0, one.principle.id)
        for (number, one), p in zip(asked, ahead, strict=True)
    ]


def _row(judge: str, form: str, asked: Asked, pair: JudgedPair) -> JudgeAnswerRow:
    number, one = asked
    return JudgeAnswerRow(
        judge=judge,
        form=form,
        question=number,
        kind=one.kind,
        better_is_a=bool(pair.a_better),
        p_a=pair.p_a,
        right=is_right(pair),
    )
