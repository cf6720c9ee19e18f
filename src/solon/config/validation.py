"""Checks settings with a pydantic model, and turns its errors into errors that say where a setting was written.

The first fault becomes one line: its place, the dotted name of the setting, and what to write instead. For an unknown
setting that is its new name, the nearest name, or the same name in another group; for a bad value it is the default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from solon.config.located_yaml import Location, Places, dotted, nearest, suggestion
from solon.config.renamed import new_name
from solon.config.settings import NO_NUMBER
from solon.errors import RecipeError

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], values: Mapping[str, Any], places: Places) -> Model:
    """The model of these values; raises RecipeError for the first fault."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _settings_error(error.errors()[0], model, places) from None


def _settings_error(fault: ErrorDetails, model: type[BaseModel], places: Places) -> RecipeError:
    location, kind, written = fault["loc"], fault["type"], fault["input"]
    # A whole group may have been set at once, so the place can be that of a key above.
    name, place = dotted(location), places.at(location)
    if isinstance(written, dict):
        place = places.inside(location) or place
    if kind == "extra_forbidden":
        return RecipeError(f"unknown setting '{name:.120}'", place=place, remedy=_remedy_for_unknown(location, model))
    if kind == "missing":
        return RecipeError(f"the setting '{name}' is missing", place=place, remedy=f"Add '{location[-1]}: ...'")
    shown = "a group of settings" if isinstance(written, dict) else repr(written)
    cause = f"'{name}' is {shown:.80}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
    return RecipeError(cause, place=place, remedy=_remedy_for_value(kind, location, model))


def _remedy_for_value(kind: str, location: Location, model: type[BaseModel]) -> str:
    """How to write the value, and the default of the setting."""
    default = _default(location, model)
    if kind == NO_NUMBER:
        return f"Write only digits, without quotes, colons or leading zeros{default}"
    if kind == "string_type":
        return f"Put text that looks like something else into quotes{default}"
    return default.removeprefix("; ").capitalize()


def _default(location: Location, model: type[BaseModel]) -> str:
    """The default of a setting in words, if it has one that fits into a line."""
    first = model.model_fields.get(str(location[0])) if location else None
    found: object = first.get_default(call_default_factory=True) if first else None
    for part in location[1:]:
        found = getattr(found, str(part), None)
    if isinstance(found, BaseModel) or found in (None, PydanticUndefined, ()):
        return ""
    return f"; the default is {found.value if isinstance(found, Enum) else found}"


def _remedy_for_unknown(location: Location, model: type[BaseModel]) -> str:
    """The new name of a renamed setting, else the nearest one of the group, else one of that name in another group."""
    path = [str(part) for part in location]
    if (renamed := new_name(path)) is not None:
        return f"It is called '{renamed}' now"
    group = model
    prefix = "".join(f"{part}." for part in path[:-1])
    for part in location[:-1]:
        group = group if isinstance(part, int) else _group(group, part) or group
    siblings = list(group.model_fields)
    if close := nearest(path[-1], siblings):
        return f"Did you mean '{prefix}{close}'?"
    everywhere = list(_names(model))
    elsewhere = [name for name in everywhere if name.rpartition(".")[2] == path[-1]]
    if elsewhere:
        return f"Did you mean '{elsewhere[0]}'?"
    close = nearest(".".join(path), everywhere)
    return f"Did you mean '{close}'?" if close else suggestion(path[-1], siblings)


def _group(group: type[BaseModel], field: str) -> type[BaseModel] | None:
    """The settings class of a field, which may be optional or a list; None for a single value."""
    annotation = group.model_fields[field].annotation
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _names(group: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for field in group.model_fields:
        inner = _group(group, field)
        yield f"{prefix}{field}"
        if inner is not None:
            yield from _names(inner, f"{prefix}{field}.")
