"""What the stages' tables have in common: Arrow types, and the way between rows and conversations.

Column names follow TRL's conversational format, so that other trainers read the tables as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Protocol

import pyarrow as pa

from solon.conversation import Conversation, conversation_of
from solon.runs import Row
from solon.runs.outcome import Outcome

STRING = pa.string()
MESSAGES = pa.list_(pa.struct([("role", STRING), ("content", STRING)]))
DEFECTS = pa.list_(STRING)
TRAINING_METRICS = pa.schema(
    [
        ("step", pa.int64()),
        ("epoch", pa.float64()),
        ("loss", pa.float64()),
        ("learning_rate", pa.float64()),
        ("gradient_norm", pa.float64()),
        ("rows", pa.int64()),
        ("tokens", pa.int64()),
        ("held_out_loss", pa.float64()),
    ]
)
"""A row per step of supervised training."""


class PromptKind(StrEnum):
    """What a prompt is for."""

    RED_TEAM = "red_team"
    HELPFUL = "helpful"
    HELD_OUT_HARMFUL = "held_out_harmful"
    HELD_OUT_BENIGN = "held_out_benign"


TRAINING_KINDS = (PromptKind.RED_TEAM, PromptKind.HELPFUL)
HELD_OUT_KINDS = (PromptKind.HELD_OUT_HARMFUL, PromptKind.HELD_OUT_BENIGN)


def prompt_in(row: Row) -> Conversation:
    """The conversation in a row's `prompt`."""
    return conversation_of(row["prompt"], place=f"row {row['row_id']}")


def assistant_turn(text: str) -> list[dict[str, str]]:
    """One reply as a `completion`, `chosen` or `rejected` column holds it."""
    return [{"role": "assistant", "content": text}]


def reply_in(row: Row) -> str:
    """The text of a row's `completion`."""
    return str(row["completion"][0]["content"])


def fit(rows: Iterable[Row], *kinds: PromptKind) -> list[Row]:
    """The rows that are `ok`, of the given kinds when any are given."""
    return [row for row in rows if row["outcome"] == Outcome.OK and (not kinds or row["kind"] in kinds)]


def comparable(rows: Iterable[Row]) -> list[Row]:
    """The labelled pairs that are `ok` and whose replies both have a text: an empty one is never learned from."""
    return [row for row in fit(rows) if all(row[side][0]["content"].strip() for side in ("chosen", "rejected"))]


def count_defects(rows: Iterable[Row], column: str = "defects") -> dict[str, int]:
    """How often each rule was met in a column of defects, most frequent first."""
    return most_frequent(Counter(defect for row in rows for defect in row[column]))


def most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts that are not 0, the largest first."""
    return dict(
        sorted(((name, count) for name, count in counts.items() if count), key=lambda item: (-item[1], item[0]))
    )


class Labels(Protocol):
    """Labelled pairs: the artefact of the stage ai-feedback, or files read from elsewhere."""

    def rows(self) -> list[Row]:
        """Rows with `row_id`, `prompt`, `chosen`, `rejected`, `p_chosen` and `outcome`.

        To learn one axis alone, also `pair`, `response_a`, `response_b` and `axes`.
        """
        ...
