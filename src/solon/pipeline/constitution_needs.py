"""What a recipe wants of a constitution: principles that are named, worked examples, and axes.

Every stage refuses what it lacks when it comes to it; here all of that is asked beforehand and together, so that a
person who writes rules hears of it before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Callable

from solon.config.located_yaml import suggestion
from solon.config.recipe import FeedbackForm, Method, Recipe
from solon.constitution.constitution import Constitution, preference_principles, revision_principles, worked_critiques
from solon.errors import RecipeError
from solon.feedback.comparisons import axes_of, few_shot_variants, worked_reasoning


def unmet_needs(recipe: Recipe, constitution: Constitution) -> list[RecipeError]:
    """Everything that the recipe asks for and the constitution lacks, each as the error that a run would end with.

    A recipe of human comparisons alone asks nothing of it.
    """
    if recipe.method is Method.RLHF:
        return []
    feedback, revision, seed = recipe.feedback, recipe.revision, recipe.seed
    reasoned = feedback.form is FeedbackForm.REASONED
    asked: list[Callable[[], object]] = [
        lambda: revision_principles(revision, constitution),
        lambda: worked_critiques(revision, constitution),
        lambda: preference_principles(feedback, constitution),
        lambda: axes_of(feedback, constitution),
        lambda: (worked_reasoning if reasoned else few_shot_variants)(feedback, constitution, seed),
        lambda: _known_axis(recipe),
    ]
    found: dict[str, RecipeError] = {}
    for ask in asked:
        try:
            ask()
        except RecipeError as error:
            found.setdefault(str(error), error)
    return list(found.values())


def _known_axis(recipe: Recipe) -> None:
    axis, known = recipe.preference.axis, recipe.feedback.axes or {}
    if axis is not None and axis not in known:
        raise RecipeError(
            f"the preference model is to learn the axis '{axis}', which gets no labels",
            place="preference.axis",
            remedy=suggestion(axis, known) if known else f"Add --set feedback.axes.{axis}=1",
        )
