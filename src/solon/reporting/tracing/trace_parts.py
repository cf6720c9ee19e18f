"""What a trace consists of: parts with a text and facts, each naming the parts that it is made of, and the stages.

Addresses name parts: `STAGE/ROW_ID/NUMBER` a row of a table, `revision/ID` and `preference/ID` a principle, and
`model/NAME` a trained model. All of it becomes JSON by `solon.runs.records.to_record`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class PrincipleKind(StrEnum):
    """The list of the constitution that a principle is in."""

    REVISION = "revision"
    PREFERENCE = "preference"


MODEL = "model"
"""The first word of a trained model's address."""
CRITIQUE = "critique"
"""The last word of the address of a critique, which is in the row of its revision."""


def address(*words: object) -> str:
    """The address that these words make."""
    return "/".join(str(word) for word in words if word is not None)


@dataclass(frozen=True, slots=True)
class TraceFact:
    """One fact about a part, as people read it."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePart:
    """One link of a trace: a text, what is known of it, and the addresses of the parts that it is made of."""

    address: str
    title: str
    stage: str | None = None
    """The stage whose table has it; None for what no stage made."""
    text: str | None = None
    facts: tuple[TraceFact, ...] = ()
    made_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecord:
    """What a stage was made with: versions of the code, seed, models and other inputs by their digests."""

    stage: str
    number: int
    hash: str
    """The digest of its rows and files."""
    solon: str
    code: Mapping[str, int]
    """The versions of the stage's code, and of how models are asked and trained."""
    seed: int | None
    reads: Mapping[str, str]
    """The digest of each model, file, constitution and earlier stage that it read, by name."""
    settings: Mapping[str, Any]
    made_on: tuple[str, ...]
    """Machine and libraries, for each kind of session; they move rows by rounding only."""
    adopted_from: str | None
    """The run that made the stage, where this run took it over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTrace:
    """A row back to its prompt (`parts` begin with the row), or all about a prompt (they begin with the prompt)."""

    of: str
    parts: tuple[TracePart, ...]
    stages: tuple[StageRecord, ...]
    remarks: tuple[str, ...] = ()


def facts_of(pairs: Iterable[tuple[str, object]]) -> tuple[TraceFact, ...]:
    """Facts from names and values; those without a value are left out."""
    return tuple(TraceFact(name, shown(value)) for name, value in pairs if value is not None and value != "")


def shown(value: object) -> str:
    """A value as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def behind(parts: Sequence[TracePart], wanted: str) -> list[TracePart]:
    """The part of an address and all that it is made of, the part itself first, the prompt last.

    `parts` stand in the order of the work, so that every part comes after what it is made of.
    """
    kept = {wanted}
    found = []
    for part in reversed(parts):
        if part.address in kept:
            kept.update(part.made_of)
            found.append(part)
    return found
