"""Reads and writes recipes: a YAML file, then overlays, then `--set a.b=c` values; later values win.

The place of every value is known, so an error about an unknown key or a bad value has `file:line` (or the `--set` as
typed), the dotted name, and the nearest existing name (`solon.config.validation`). `differences` compares two recipes
setting by setting, so that a run can say what was changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from solon.config.builtin import built_in_recipe, recipe_path
from solon.config.located_yaml import DEEPEST, SETTING, Dumper, Places, YamlFile, group_name, node_of
from solon.config.recipe import Method, Recipe, with_one_model
from solon.config.served_model import OPENAI
from solon.config.validation import validated
from solon.errors import RecipeError

Values = dict[str, Any]


def load_recipe(file: str | Path, overlays: Sequence[str | Path] = (), settings: Sequence[str] = ()) -> Recipe:
    """The recipe of a file or built-in name, with overlays and then `a.b=c` settings.

    Raises RecipeError with the place and the dotted name of an unknown or bad setting.
    """
    values: Values = {}
    places = Places(str(file))
    for layer in _layers((file, *overlays), settings, places):
        _lay_over(values, layer)
    return validated(Recipe, values, places)


def refuse_partial_model_change(
    file: str | Path, overlays: Sequence[str | Path], settings: Sequence[str], recipe: Recipe
) -> None:
    """Raise RecipeError when only one of the two main models of a built-in recipe was changed.

    With only `models.assistant`, SL-CAI would start from the recipe's model, which the user hardly means.
    """
    named: Values = {}
    for layer in _layers(overlays, settings, Places("")):
        _lay_over(named, layer)
    parts = named.get("models")
    mains = [part for part in ("pretrained", "assistant") if isinstance(parts, dict) and part in parts]
    given = {"pretrained": recipe.models.pretrained, "assistant": recipe.models.assistant}
    if len(mains) != 1 or len(set(given.values())) == 1 or recipe.method is not Method.CAI or not built_in_recipe(file):
        return
    changed, kept = mains[0], next(part for part in given if part != mains[0])
    effect = f"SL-CAI still starts from '{given[kept]}'" if kept == "pretrained" else f"'{given[kept]}' still answers"
    one = f"For one model in all parts use --set model={given[changed]}; for two models set models.{kept} too"
    if given[changed].startswith(f"{OPENAI}:"):
        one = f"A model behind a server is not trained: set models.{kept} to a model folder too"
    raise RecipeError(
        f"changed to '{given[changed]}', but with the recipe '{file}' {effect}",
        place=f"models.{changed}",
        remedy=one,
    )


def dump_recipe(recipe: Recipe) -> str:
    """The whole recipe as YAML with all defaults; `load_recipe` reads the same recipe back."""
    values = recipe.model_dump(mode="json")
    text = yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)
    # Without escapes, YAML turns the rarer line breaks of Unicode (U+0085, U+2028) into ordinary ones.
    same = yaml.safe_load(text) == values
    return text if same else yaml.dump(values, Dumper=Dumper, sort_keys=False, width=100)


def differences(old: Recipe, new: Recipe) -> list[tuple[str, object, object]]:
    """(dotted key, old value, new value) for every setting that differs, in the order of the recipe."""
    return differences_between(old.model_dump(mode="json"), new.model_dump(mode="json"))


def differences_between(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, object, object]]:
    """(dotted key, old value, new value) for every difference; a missing key counts as None."""
    found: list[tuple[str, object, object]] = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after, dotted = old.get(key), new.get(key), f"{prefix}{key}"
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences_between(before, after, f"{dotted}.")
        elif before != after:
            found.append((dotted, before, after))
    return found


def _layers(files: Sequence[str | Path], settings: Sequence[str], places: Places) -> Iterator[Values]:
    """The values of each file, then those of all settings, with `model` replaced by the two names in `models`."""
    for each in files:
        source = YamlFile(recipe_path(each), RecipeError)
        found, written = source.read(lambda location: group_name(location) if location else "the recipe")
        places.known.update(written.known)
        yield with_one_model(found)
    typed: Values = {}
    for setting in settings:
        dotted, value = _setting(setting)
        places.known[tuple(dotted.split("."))] = f"{SETTING} {setting:.120}"
        _lay_over(typed, _nested(dotted, value))
    yield with_one_model(typed)


def _setting(setting: str) -> tuple[str, object]:
    dotted, equals, written = setting.partition("=")
    dotted = dotted.strip()
    place = f"{SETTING} {setting:.120}"
    if not equals or not all(dotted.split(".")):
        raise RecipeError("a setting is written key=value", place=place, remedy="Example: --set rl.steps=20")
    if len(dotted.split(".")) > DEEPEST:
        raise RecipeError("the setting's name has too many parts", place=place)
    try:
        node = node_of(written, place, RecipeError)
        return dotted, None if node is None else YamlFile(Path(place), RecipeError).value(node, f"'{dotted}'")
    except RecipeError as error:
        cause = error.cause if not error.cause.startswith("broken YAML") else "broken YAML"
        cause = f"the value of '{dotted}' is {cause}" if cause == "broken YAML" else cause
        raise RecipeError(cause, place=place, remedy=error.remedy) from None


def _nested(dotted: str, value: object) -> Values:
    for part in reversed(dotted.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def _lay_over(values: Values, above: Values) -> None:
    """Merge `above` into `values` in place: mappings are merged, other values are replaced."""
    for key, value in above.items():
        below = values.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            _lay_over(below, value)
        else:
            values[key] = value
