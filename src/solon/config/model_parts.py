"""Names the settings of a recipe in an error about a model folder, so that the user knows which one to change.

The code that loads a folder does not know the recipe, so the settings are added to its errors here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from solon.config.builtin import hub_model, model_path
from solon.config.hub_models import cached_snapshot
from solon.config.recipe import Recipe
from solon.errors import ModelError, SolonError


@contextmanager
def naming_parts(recipe: Recipe) -> Iterator[None]:
    """Add to the place of a ModelError the settings of `recipe` that name the folder at fault."""
    try:
        yield
    except ModelError as error:
        parts = parts_of(recipe, error.place)
        if not parts:
            raise
        place = f"{error.place} ({', '.join(parts)})"
        raise ModelError(error.cause, place=place, remedy=error.remedy) from error


def parts_of(recipe: Recipe, place: str) -> list[str]:
    """The settings with the model folder that `place` is, or is in."""
    found = []
    for setting, name in _named(recipe):
        try:
            on_hub = hub_model(name)
            folder = model_path(name) if on_hub is None else cached_snapshot(on_hub)  # nothing is fetched for a message
        except SolonError:  # no such folder: the error is about another one
            continue
        if folder is not None and place and Path(place).is_relative_to(folder):
            found.append(setting)
    return found


def _named(recipe: Recipe) -> Iterator[tuple[str, str]]:
    for setting, value in recipe.models.model_dump(mode="json").items():
        for name in value if isinstance(value, list | tuple) else [value]:
            if isinstance(name, str):
                yield f"models.{setting}", name
    if recipe.rl.held_out_scorer:
        yield "rl.held_out_scorer", recipe.rl.held_out_scorer
