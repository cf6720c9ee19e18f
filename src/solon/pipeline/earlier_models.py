"""Resolves `warm_start.run`: which stages of a new run go on from which models of an earlier one.

Those are the stages that train and that the edit of the constitution changes (`solon.pipeline.impact`). The others are
the earlier run's as they are, so `--reuse` takes them over, with the warm starts that they had themselves. The result
is written into the recipe, so a run resumes without looking at the earlier one's tables again.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from solon.config.loading import differences_between
from solon.config.recipe import Algorithm, NetworkSharing, Recipe
from solon.config.warm_start_settings import EarlierModel
from solon.constitution.constitution import Constitution
from solon.errors import RecipeError, RunError
from solon.pipeline.impact import impact_of
from solon.runs import RunDirectory
from solon.stages.plan import RL_CAI, out_of_round

_PLACE = "warm_start.run"


def with_earlier_models(recipe: Recipe, constitution: Constitution) -> Recipe:
    """The recipe with the model folders that stages go on from, and without `warm_start.run`.

    Raises RecipeError for settings that training cannot go on with, and RunError for an earlier run that is unfinished
    or made with other models.
    """
    settings = recipe.warm_start
    if settings.run is None:
        return recipe
    run = RunDirectory.open(Path(settings.run).resolve())
    _refuse_other_models(recipe, run)
    made = {artefact.name: artefact for artefact in run.artefacts(verified=True)}
    found = {
        name: EarlierModel(folder=str(made[name].model), hash=made[name].hash)
        for name in impact_of(run, constitution).trained
    }
    _refuse_unusable(recipe, found)
    started = settings.model_copy(update={"run": None, "models": {**settings.models, **found}})
    return recipe.model_copy(update={"warm_start": started})


def _refuse_other_models(recipe: Recipe, run: RunDirectory) -> None:
    """Raise RunError where the earlier run's models are others: weights would not fit."""
    earlier, now = (each.models.model_dump(mode="json") for each in (run.recipe, recipe))
    trained = ("pretrained", "preference", "policy")
    other = [each for each in differences_between(earlier, now) if each[0] in trained]
    if other or run.recipe.method is not recipe.method:
        listed = "; ".join(f"models.{name}: {old!r} -> {new!r}" for name, old, new in other) or "another method"
        raise RunError(
            f"training cannot go on from the models of {run.path}: {listed}",
            place=_PLACE,
            remedy="Train from the start with --set warm_start.run=null",
        )


def _refuse_unusable(recipe: Recipe, stages: Collection[str]) -> None:
    """Raise RecipeError for reinforcement learning that has no place for other first weights."""
    if RL_CAI not in map(out_of_round, stages):
        return
    if recipe.rl.algorithm is Algorithm.DPO:
        raise RecipeError(
            "DPO compares with the model that it starts from, which is SL-CAI",
            place=_PLACE,
            remedy="Train from the start with --set warm_start.run=null",
        )
    if recipe.rl.networks is NetworkSharing.SHARED:
        raise RecipeError(
            "networks that share a frozen backbone start from its adapters",
            place=_PLACE,
            remedy="Use --set rl.networks=separate, or train from the start with --set warm_start.run=null",
        )
