"""The settings of the judge that measures replies: which contradict, and what is missing."""

from __future__ import annotations

from solon.config.located_yaml import suggestion
from solon.config.recipe import JUDGE_GRADER, REPLY_QUESTIONS, Recipe
from solon.errors import RecipeError
from solon.evals.reply_questions import read_reply_questions
from solon.stages.reply_judging import measured_names


def refuse_unusable_judge(recipe: Recipe) -> None:
    """Raise RecipeError for settings of `measure` that contradict, and for questions that cannot be read."""
    settings = recipe.measure
    if settings.grader != JUDGE_GRADER:
        given = {"judge": settings.judge, "baseline": settings.baseline}
        given["questions"] = settings.questions if settings.questions != REPLY_QUESTIONS else None
        for name, value in given.items():
            if value is not None:
                default = REPLY_QUESTIONS if name == "questions" else "null"
                raise RecipeError(
                    f"'{value}' is set for a judge of replies, and the grader is '{settings.grader}'",
                    place=f"measure.{name}",
                    remedy=f"Use --set measure.grader={JUDGE_GRADER}, or --set measure.{name}={default}",
                )
        return
    names = measured_names(recipe)
    if settings.baseline is not None and settings.baseline not in names:
        raise RecipeError(
            f"no model '{settings.baseline}' is measured in this run",
            place="measure.baseline",
            remedy=suggestion(settings.baseline, names),
        )
    read_reply_questions(settings.questions)
