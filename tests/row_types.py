"""Small row types for tests of what handles rows of any type."""

from __future__ import annotations

from dataclasses import dataclass

from solon.conversation import Conversation
from solon.runs.outcome import Outcome


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
