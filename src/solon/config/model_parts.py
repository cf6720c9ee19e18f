"""Which parts of a recipe a model plays, so that an error about its folder says which setting to change.

A folder is loaded far below the recipe, by code that knows no parts; what it raises is completed here on its way up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from solon.config.builtin import model_path
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
    """The settings that name the model folder which `place` is, or lies in."""
    found = []
    for setting, name in _named(recipe):
        try:
            folder = model_path(name)
        except SolonError:  # no folder of that name: the error is about another
            continue
        if place and Path(place).is_relative_to(folder):
            found.append(setting)
    return found


def _named(recipe: Recipe) -> Iterator[tuple[str, str]]:
    for setting, value in recipe.models.model_dump(mode="json").items():
        for name in value if isinstance(value, list | tuple) else [value]:
            if isinstance(name, str):
                yield f"models.{setting}", name
    if recipe.rl.held_out_scorer:
        yield "rl.held_out_scorer", recipe.rl.held_out_scorer
