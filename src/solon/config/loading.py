"""Reads and writes recipes: a YAML file, overlays over it, then `--set a.b=c` values, the later ones winning.

Every value remembers where it was written, so that an unknown key or a bad value is refused with `file:line` (or the
`--set` as typed), its dotted name, and the nearest name that exists. `differences` tells two recipes apart setting by
setting, which is how a run says what was changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from solon.config.builtin import built_in_recipe, recipe_path
from solon.config.located_yaml import DEEPEST, MAPPING, Dumper, YamlFile, nearest, node_of, suggestion
from solon.config.recipe import Method, Recipe, with_one_model
from solon.config.renamed import new_name
from solon.config.settings import NO_NUMBER
from solon.errors import RecipeError

Values = dict[str, Any]
Places = dict[str, str]


def read_recipe(file: str | Path, overlays: Sequence[str | Path] = (), settings: Sequence[str] = ()) -> Recipe:
    """The recipe in `file` with overlays and `a.b=c` settings laid over it; raises RecipeError at the first fault."""
    values: Values = {}
    places: Places = {}
    for layer in _layers((file, *overlays), settings, places):
        _lay_over(values, layer)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise _recipe_error(error, places, default_place=str(file)) from None


def refuse_half_a_change(
    file: str | Path, overlays: Sequence[str | Path], settings: Sequence[str], recipe: Recipe
) -> None:
    """Raise RecipeError where one of the two main models of a built-in recipe was changed, and the other not named.

    `models.assistant` alone says who answers: SL-CAI would still start from a model that nobody thought of.
    """
    named: Values = {}
    for layer in _layers(overlays, settings, {}):
        _lay_over(named, layer)
    parts = named.get("models")
    mains = [part for part in ("pretrained", "assistant") if isinstance(parts, dict) and part in parts]
    given = {"pretrained": recipe.models.pretrained, "assistant": recipe.models.assistant}
    if len(mains) != 1 or len(set(given.values())) == 1 or recipe.method is not Method.CAI or not built_in_recipe(file):
        return
    changed, kept = mains[0], next(part for part in given if part != mains[0])
    told = f"SL-CAI would still start from '{given[kept]}'" if kept == "pretrained" else f"'{given[kept]}' would answer"
    raise RecipeError(
        f"is '{given[changed]}', and by the recipe '{file}' {told}",
        place=f"models.{changed}",
        remedy=f"For one model in all parts use --set model={given[changed]}; for two name models.{kept} as well",
    )


def write_recipe(recipe: Recipe) -> str:
    """The whole recipe as YAML, every default spelled out; `read_recipe` gives the same recipe back."""
    values = recipe.model_dump(mode="json")
    text = yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)
    # Unescaped, YAML folds the rarer line breaks of Unicode (U+0085, U+2028) into ordinary ones.
    same = yaml.safe_load(text) == values
    return text if same else yaml.dump(values, Dumper=Dumper, sort_keys=False, width=100)


def differences_between(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, object, object]]:
    """(dotted key, old value, new value) for all that differs; a key that one side lacks counts as None there."""
    found: list[tuple[str, object, object]] = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after, dotted = old.get(key), new.get(key), f"{prefix}{key}"
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences_between(before, after, f"{dotted}.")
        elif before != after:
            found.append((dotted, before, after))
    return found


def _layers(files: Sequence[str | Path], settings: Sequence[str], places: Places) -> Iterator[Values]:
    """The values of each file, then those of all settings; in every one of them `model` is spelled out."""
    for each in files:
        source = YamlFile(recipe_path(each), RecipeError)
        yield with_one_model(_plain(source, source.root(), "", places))
    typed: Values = {}
    for setting in settings:
        dotted, value = _setting(setting)
        places[dotted] = f"--set {setting:.120}"
        _lay_over(typed, _nested(dotted, value))
    yield with_one_model(typed)


def _plain(source: YamlFile, node: yaml.Node, prefix: str, places: Places) -> Values:
    """A mapping node as a dict; notes the place of every key under its dotted name."""
    values: Values = {}
    for key, (key_node, value) in source.entries(node, f"'{prefix[:-1]}'" if prefix else "the recipe").items():
        dotted = f"{prefix}{key}"
        places[dotted] = source.place(key_node)
        if isinstance(value, yaml.MappingNode) and value.tag == MAPPING:
            values[key] = _plain(source, value, f"{dotted}.", places)
        else:
            values[key] = source.value(value, f"'{dotted}'")
    return values


def _setting(setting: str) -> tuple[str, object]:
    dotted, equals, written = setting.partition("=")
    dotted = dotted.strip()
    place = f"--set {setting:.120}"
    if not equals or not all(dotted.split(".")):
        raise RecipeError("a setting is written key=value", place=place, remedy="Example: --set rl.steps=20")
    if len(dotted.split(".")) > DEEPEST:
        raise RecipeError("the setting's name has too many parts", place=place)
    try:
        node = node_of(written, place, RecipeError)
        return dotted, None if node is None else YamlFile(Path(place), RecipeError).value(node, f"'{dotted}'")
    except RecipeError as error:
        cause = error.cause if not error.cause.startswith("broken YAML") else "broken YAML"
        told = f"the value of '{dotted}' is {cause}" if cause == "broken YAML" else cause
        raise RecipeError(told, place=place, remedy=error.remedy) from None


def _nested(dotted: str, value: object) -> Values:
    for part in reversed(dotted.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def _lay_over(values: Values, above: Values) -> None:
    """Lay `above` over `values` in place: mappings merge, everything else replaces."""
    for key, value in above.items():
        below = values.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            _lay_over(below, value)
        else:
            values[key] = value


def _recipe_error(error: ValidationError, places: Places, default_place: str) -> RecipeError:
    fault = error.errors()[0]
    path = [str(part) for part in fault["loc"]]
    dotted = ".".join(path)
    # A whole group may have been set at once, so the place can be that of a key above.
    above = [".".join(path[:length]) for length in range(len(path), 0, -1)]
    place = next((places[name] for name in above if name in places), default_place)
    if fault["type"] == "extra_forbidden":
        return RecipeError(f"unknown setting '{dotted:.120}'", place=place, remedy=_remedy_for_unknown(path))
    written = fault["input"]
    shown = "a group of settings" if isinstance(written, dict) else repr(written)
    cause = f"'{dotted}' is {shown:.80}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
    return RecipeError(cause, place=place, remedy=_remedy_for_value(fault["type"], path))


def _remedy_for_value(kind: str, path: Sequence[str]) -> str:
    """How the value is to be written, and which one the setting has by default."""
    if kind == NO_NUMBER:
        return f"Write digits alone, without quotes, colons or leading zeros{_default(path)}"
    if kind == "string_type":
        return f"Put text that looks like something else into quotes{_default(path)}"
    return _default(path).removeprefix("; ").capitalize()


def _default(path: Sequence[str]) -> str:
    """The default of a setting in words, where it has one that fits into a line."""
    found: object = Recipe()
    for part in path:
        found = getattr(found, part, None)
    if isinstance(found, BaseModel) or found is None:
        return ""
    return f"; the default is {found.value if isinstance(found, Enum) else found}"


def _remedy_for_unknown(path: Sequence[str]) -> str:
    """Names the new name of a renamed setting, else the nearest sibling, else a setting elsewhere of that name."""
    if (renamed := new_name(path)) is not None:
        return f"It is called '{renamed}' now"
    group: type[BaseModel] = Recipe
    prefix = "".join(f"{part}." for part in path[:-1])
    for part in path[:-1]:
        group = _group(group, part) or group
    siblings = list(group.model_fields)
    if close := nearest(path[-1], siblings):
        return f"Did you mean '{prefix}{close}'?"
    everywhere = list(_dotted(Recipe))
    elsewhere = [name for name in everywhere if name.rpartition(".")[2] == path[-1]]
    if elsewhere:
        return f"Did you mean '{elsewhere[0]}'?"
    close = nearest(".".join(path), everywhere)
    return f"Did you mean '{close}'?" if close else suggestion(path[-1], siblings)


def _group(group: type[BaseModel], field: str) -> type[BaseModel] | None:
    """The settings class of a field, also when it may be null; None for a single value."""
    annotation = group.model_fields[field].annotation
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _dotted(group: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for field in group.model_fields:
        inner = _group(group, field)
        yield f"{prefix}{field}"
        if inner is not None:
            yield from _dotted(inner, f"{prefix}{field}.")
