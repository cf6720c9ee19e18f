"""Small row types for tests of what handles rows of any type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

import pyarrow as pa

from solon.conversation import Conversation
from solon.runs.outcome import Outcome
from solon.runs.records import from_record, schema_of

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class IdRow:
    """A row that is its id."""

    row_id: str


@dataclass(frozen=True, slots=True)
class NumberRow:
    """A row that is a number."""

    number: int


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A scored row."""

    row_id: str
    score: float


@dataclass(frozen=True, slots=True)
class ExampleRow:
    """A row with a column of each kind that most tables have."""

    row_id: str
    prompt: Conversation
    p: float | None
    outcome: Outcome


def filled(row: type[R], record: Mapping[str, Any]) -> R:
    """A row of which a test says only what it is about; a column that must be there gets some value of its type."""
    blank: dict[str, Any] = {"outcome": "ok", "kind": "red_team"}
    some = {pa.string(): "", pa.int64(): 1, pa.float64(): 0.0}
    schema = schema_of(row)
    for field in fields(row):  # type: ignore[arg-type]  # every row type is a dataclass
        if field.default is MISSING and "None" not in str(field.type):
            value = [{"role": "assistant", "content": ""}] if field.type == "Reply" else []
            blank.setdefault(field.name, some.get(schema.field(field.name).type, value))
    return from_record(row, blank | dict(record))


def filled_rows(row: type[R], records: Iterable[Mapping[str, Any]]) -> list[R]:
    """See `filled`."""
    return [filled(row, record) for record in records]
