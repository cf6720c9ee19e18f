"""Records models of the hub with their commits: `hf:ORG/NAME` in a recipe becomes `hf:ORG/NAME@COMMIT`.

A branch moves; a commit does not. So a run's recipe, reports and model cards say which weights were used, and a run
that goes on, also on another machine, asks the same ones. A name without a revision keeps the commit that the run has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from solon.config.builtin import hub_model
from solon.config.hub_models import MAIN, PREFIX, commit_of, snapshot
from solon.config.recipe import ModelSettings, Recipe

Rename = Callable[[str], str]


def with_pinned_models(recipe: Recipe, earlier: Recipe | None = None) -> Recipe:
    """The recipe with the commit in the name of every model of the hub; fetches models that are not in the cache.

    `earlier` is the recipe that the run has already. Raises what `solon.config.hub_models.snapshot` raises.
    """
    known = {model.repository: model for model in map(hub_model, named_models(earlier)) if model} if earlier else {}

    def pin(name: str) -> str:
        model = hub_model(name)
        if model is None:
            return name
        if model.revision == MAIN and model.repository in known:
            model = known[model.repository]
        if model.pinned:
            return str(model)
        return f"{PREFIX}{model.repository}@{commit_of(snapshot(model))}"

    return renamed_models(recipe, pin)


def named_models(recipe: Recipe) -> Iterator[str]:
    """Every name of a model in a recipe, addresses included."""
    found: list[str] = []

    def note(name: str) -> str:
        found.append(name)
        return name

    renamed_models(recipe, note)
    yield from found


def renamed_models(recipe: Recipe, rename: Rename) -> Recipe:
    """The recipe with other names of models, addresses included; the same recipe when none changes."""
    models = {name: _renamed(getattr(recipe.models, name), rename) for name in ModelSettings.model_fields}
    scorers = {name: _renamed(getattr(recipe.rl, name), rename) for name in ("scorer", "held_out_scorer")}
    judge = _renamed(recipe.measure.judge, rename)
    changed = recipe.model_copy(
        update={
            "models": recipe.models.model_copy(update=models),
            "rl": recipe.rl.model_copy(update=scorers),
            "measure": recipe.measure.model_copy(update={"judge": judge}),
        }
    )
    return recipe if changed == recipe else changed


def _renamed(name: Any, rename: Rename) -> Any:
    if isinstance(name, tuple):
        return tuple(map(rename, name))
    return rename(name) if isinstance(name, str) else name
