"""Writes a constitution as YAML that reads back as the same constitution.

Texts of several lines are blocks, long lines are not folded, and ambiguous words are quoted. Defaults (axis
harmlessness, weight 1) are left out.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import yaml

from solon.constitution.constitution import Constitution
from solon.conversation import Conversation

_DEFAULTS = {"axis": "harmlessness", "weight": 1.0}


def write_constitution(constitution: Constitution) -> str:
    """The YAML of a constitution; `load_constitution` reads an equal one, up to white space around texts."""
    examples = {
        name: [_plain(each) for each in getattr(constitution, f"{name}_examples")]
        for name in ("critique", "comparison", "reasoned")
    }
    values: dict[str, Any] = {"name": constitution.name}
    if constitution.description:
        values["description"] = constitution.description
    values["revision"] = [_plain(each) for each in constitution.revision]
    values["preference"] = [_plain(each) for each in constitution.preference]
    if any(examples.values()):
        values["examples"] = {name: each for name, each in examples.items() if each}
    text = _dumped(values, unicode=True)
    # Without escapes, YAML turns the rarer line breaks of Unicode (U+0085, U+2028) into ordinary ones.
    return text if yaml.safe_load(text) == values else _dumped(values, unicode=False)


def _dumped(values: dict[str, Any], *, unicode: bool) -> str:
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=unicode, width=120)


def _plain(part: Any) -> dict[str, Any]:
    values = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if isinstance(value, Conversation):
            value = [{"role": turn.role.value, "content": turn.content} for turn in value.turns]
        if field.name not in _DEFAULTS or value != _DEFAULTS[field.name]:
            values[field.name] = value
    return values


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


class _Dumper(yaml.SafeDumper):
    """Writes texts with line breaks as blocks."""

    yaml_representers: ClassVar[dict[Any, Any]] = {**yaml.SafeDumper.yaml_representers, str: _text}
