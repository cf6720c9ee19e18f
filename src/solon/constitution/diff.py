"""The differences between two constitutions: principles are compared by id, worked examples by position.

Draws depend on the id of a principle and not on its text. A principle with an edited text keeps its draws, a new id
takes draws from the others, and the draws of a removed principle go to the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from solon.constitution.constitution import Constitution
from solon.conversation import Conversation, transcript


class EditKind(StrEnum):
    """How a part of a constitution differs."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """A part that differs: its section, its id or number, and the fields that differ."""

    section: str
    id: str
    edit: EditKind
    fields: Mapping[str, tuple[str | None, str | None]]
    """The old and the new text by field; None where there is no text."""


def changes(old: Constitution, new: Constitution) -> list[Change]:
    """All differences, in the order of the file; the order of principles does not count."""
    top = [{key: getattr(each, key) for key in ("name", "description")} for each in (old, new)]
    found = _compare("constitution", {"": top[0]}, {"": top[1]})
    for section in ("revision", "preference"):
        sides = [{rule.id: _fields(rule) for rule in getattr(each, section)} for each in (old, new)]
        found += _compare(f"{section} principle", *sides)
    for section in ("critique", "comparison", "reasoned"):
        lists: list[Sequence[Any]] = [getattr(each, f"{section}_examples") for each in (old, new)]
        numbered = [{str(place): _fields(one) for place, one in enumerate(each, start=1)} for each in lists]
        found += _compare(f"{section} example", *numbered)
    return found


def _fields(part: Any) -> dict[str, object]:
    values = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    values.pop("id", None)
    return values


def _compare(
    section: str, old: Mapping[str, Mapping[str, object]], new: Mapping[str, Mapping[str, object]]
) -> list[Change]:
    found = []
    for id in [*old, *(id for id in new if id not in old)]:
        before, after = old.get(id, {}), new.get(id, {})
        fields = {
            name: (_text(before.get(name)), _text(after.get(name)))
            for name in after or before
            if before.get(name) != after.get(name)
        }
        if fields:
            edit = EditKind.REMOVED if not after else EditKind.ADDED if not before else EditKind.CHANGED
            found.append(Change(section, id, edit, fields))
    return found


def _text(value: object) -> str | None:
    if isinstance(value, Conversation):
        return transcript(value.turns).strip()
    return None if value is None else f"{value:g}" if isinstance(value, float) else str(value)
