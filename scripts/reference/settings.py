"""The recipe reference: every setting with its type, default, meaning, and the section of the paper that it is from.

All of it is read off the settings classes in `solon.config`; the values of the built-in recipes are read off their
files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from solon.config.builtin import DATA
from solon.config.recipe import Recipe
from solon.config.renamed import RENAMED

from .docstrings import attribute_docstrings, one_line, summary, table

_SECTION = re.compile(r"\bsections? (\d+(?:\.\d+)?)")
_NAMES: Mapping[object, str] = {str: "text", int: "integer", float: "number", bool: "true or false", NoneType: "null"}
_BOUNDS = {Ge: ("ge", "≥"), Gt: ("gt", ">"), Le: ("le", "≤"), Lt: ("lt", "<")}
_INTRODUCTION = """# Recipe reference

A recipe is a YAML file that holds the settings of a run. This page lists every setting. It is made from the settings
classes in [`solon.config`](../../src/solon/config/recipe.py) when the site is built.

Change a setting in a recipe file, in an overlay (`--overlay NAME_OR_FILE`), or on the command line
(`--set rl.steps=20`). The later one wins. Solon refuses an unknown setting and names the nearest one that exists. To
see a whole recipe with every default written out, type `solon show recipe NAME`. `solon show recipes` lists those that
are built in.

A setting that a built-in recipe changes has a line "Built-in recipes" with the values.
"""


def settings_page() -> str:
    """The page as Markdown."""
    values = built_in_values()
    lines = [_INTRODUCTION]
    for path, group in groups():
        lines += ["", f"## {path or 'Top level'}", "", summary(group), ""]
        lines += table(("Setting", "Meaning"), [_row(path, name, group, values) for name in _own(group)])
    lines += ["", "## Renamed settings", "", "Older recipes use other names. Solon refuses an old"]
    lines += ["name and prints the new one.", ""]
    lines += table(("Old name", "Name"), [(f"`{old}`", f"`{new}`") for old, new in RENAMED.items()])
    return "\n".join(lines) + "\n"


def groups(kind: type[BaseModel] = Recipe, path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every group of settings with its dotted name, the recipe itself first."""
    yield path, kind
    for name, field in kind.model_fields.items():
        if inner := group_of(field):
            dotted = f"{path}.{name}" if path else name
            yield from groups(inner, f"{dotted}.NAME" if get_origin(field.annotation) is dict else dotted)


def explanation(group: type[BaseModel], name: str) -> str:
    """What the docstring under a setting says."""
    return attribute_docstrings(group).get(name, "")


def group_of(field: FieldInfo) -> type[BaseModel] | None:
    """The class of a field that is a group of settings by itself; None for a setting."""
    kinds = [field.annotation, *get_args(field.annotation)]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def built_in_values() -> dict[str, dict[str, str]]:
    """By setting: the built-in recipes and overlays that set it, with their values as YAML."""
    found: dict[str, dict[str, str]] = {}
    for file in sorted((DATA / "recipes").glob("*.yaml")):
        for name, value in _leaves(yaml.safe_load(file.read_text(encoding="utf-8"))):
            found.setdefault(name, {})[file.stem] = _written(value)
    return found


def type_name(annotation: Any, metadata: tuple[object, ...] = ()) -> str:
    """A type in words, with its bounds: `integer ≥ 1`, `one of a, b`, `list of text`."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(inner[0], inner[1:] + metadata)
    bounds = "".join(f"&nbsp;{sign}&nbsp;{bound:g}" for bound, sign in _bounds(metadata))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "one of " + ", ".join(f"`{member.value}`" for member in annotation)
    if origin in (Union, UnionType):
        return " or ".join(type_name(each, metadata) for each in inner)
    if origin is tuple:
        return f"list of {type_name(inner[0])}" if inner[1] is ... else f"list of {len(inner)} numbers"
    if origin is dict:
        return f"mapping of {type_name(inner[0])} to {type_name(inner[1])}"
    return _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation))) + (
        bounds if annotation in (int, float) else ""
    )


def _row(path: str, name: str, group: type[BaseModel], values: Mapping[str, Mapping[str, str]]) -> tuple[str, str]:
    field = group.model_fields[name]
    dotted = f"{path}.{name}" if path else name
    meaning = [explanation(group, name)]
    enums = [each for each in _kinds(field.annotation) if isinstance(each, type) and issubclass(each, Enum)]
    for enum in enums:
        explained = attribute_docstrings(enum)
        meaning.append(one_line(summary(enum)))
        meaning += [f"`{each.value}`: {explained[each.name]}" for each in enum if each.name in explained]
    if sections := sorted(set(_SECTION.findall(" ".join(meaning)))):
        meaning.append(f"*Paper: section {', '.join(sections)}.*")
    if (set_by := values.get(dotted)) and dotted != "name":
        meaning.append("*Built-in recipes:* " + ", ".join(f"{recipe} `{value}`" for recipe, value in set_by.items()))
    kind = type_name(field.annotation, tuple(field.metadata))
    default = "required" if field.is_required() else f"default&nbsp;`{_default(field)}`"
    return f"`{dotted}`<br>{kind}<br>{default}", "<br>".join(each for each in meaning if each)


def _own(group: type[BaseModel]) -> list[str]:
    """The settings of a group that are no groups themselves, or may be null, or are mappings to groups."""

    def is_setting(field: FieldInfo) -> bool:
        mapping = get_origin(field.annotation) is dict
        return mapping or not group_of(field) or NoneType in get_args(field.annotation)

    return [name for name, field in group.model_fields.items() if is_setting(field)]


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    return _written(default.value if isinstance(default, Enum) else default)


def _written(value: object) -> str:
    if value is None:
        return "null"
    plain = list(value) if isinstance(value, tuple) else value
    written = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10_000)
    return written.removesuffix("\n").removesuffix("\n...")


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        dotted = f"{path}{name}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{dotted}.")
        else:
            yield dotted, value


def _kinds(annotation: object) -> list[object]:
    inner = get_args(annotation)
    return [kind for each in inner for kind in _kinds(each)] if inner else [annotation]


def _bounds(metadata: tuple[object, ...]) -> Iterator[tuple[float, str]]:
    for each in metadata:
        for item in getattr(each, "metadata", [each]):
            for kind, (attribute, sign) in _BOUNDS.items():
                if isinstance(item, kind):
                    yield getattr(item, attribute), sign
