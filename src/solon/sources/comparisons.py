r"""Human comparisons from a file: which of two replies to one prompt a person preferred.

One JSON object per line, in a `.jsonl` or `.jsonl.gz` file: {"prompt": messages, "chosen": messages, "rejected":
messages} with one reply each, or the transcripts of hh-rlhf, {"chosen": "\n\nHuman: ...", "rejected": ...}, whose
common turns are the prompt. A line of another form is an error that names file and line. A line that is well-formed
and yet compares nothing (other prompts, an empty or an equal reply) is skipped and counted by reason.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solon.conversation import Conversation, Role, conversation_of, parse_transcript
from solon.errors import InputError
from solon.sources.entries import read_lines

_FORM = 'Write {"prompt": messages, "chosen": messages, "rejected": messages}, or hh-rlhf\'s two transcripts'


@dataclass(frozen=True, slots=True)
class Comparison:
    """A prompt, the reply that a person preferred, and the other one; `line` counts from 1."""

    prompt: Conversation
    chosen: str
    rejected: str
    line: int


@dataclass(slots=True)
class Comparisons:
    """What a file holds, and how many of its lines compare nothing, by reason."""

    rows: list[Comparison] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def read_comparisons(path: Path) -> Comparisons:
    """All comparisons of a file, in order; raises InputError for a missing or empty file or a malformed line."""
    found = Comparisons()
    for number, line in read_lines(path):
        _add(found, line, number, f"{path}:{number}")
    if not found.rows:
        raise InputError("the file holds no usable comparison", place=str(path), remedy=_FORM)
    return found


def _add(found: Comparisons, line: bytes, number: int, place: str) -> None:
    compared = comparison_in(record_in(line, place), number, place)
    if isinstance(compared, Comparison):
        found.rows.append(compared)
    else:
        found.skipped[compared] += 1


def comparison_in(row: Mapping[str, Any], number: int, place: str) -> Comparison | str:
    """The comparison in a record, or in a few words why it compares nothing; InputError for another form."""
    if any(row.get(key) is None for key in ("chosen", "rejected")):
        raise InputError("the line lacks 'chosen' and 'rejected'", place=place, remedy=_FORM)
    prompt = conversation_from(row["prompt"], place) if row.get("prompt") is not None else Conversation(())
    chosen, rejected = (continued(prompt, row[key], place) for key in ("chosen", "rejected"))
    reason = _unusable(chosen, rejected)
    if reason is not None:
        return reason
    better, worse = (each.turns[-1].content.strip() for each in (chosen, rejected))
    return Comparison(Conversation(chosen.turns[:-1]), better, worse, number)


def record_in(line: bytes, place: str) -> dict[str, Any]:
    """The JSON object in a line; raises InputError naming `place` when there is none."""
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"broken JSON: {error}", place=place, remedy=_FORM) from None
    if not isinstance(row, dict):
        raise InputError("a line must be one JSON object", place=place, remedy=_FORM)
    return row


def continued(prompt: Conversation, value: object, place: str) -> Conversation:
    """A prompt with what a field adds to it."""
    return Conversation(prompt.turns + conversation_from(value, place).turns)


def conversation_from(value: object, place: str) -> Conversation:
    """The conversation in a field, as messages or as a transcript; raises InputError for anything else."""
    if isinstance(value, str):
        return parse_transcript(value, place=place)
    if isinstance(value, list) and all(isinstance(message, dict) for message in value):
        return conversation_of(value, place=place)
    raise InputError("a conversation is a list of messages or a transcript", place=place, remedy=_FORM)


def _unusable(chosen: Conversation, rejected: Conversation) -> str | None:
    """Why two conversations do not compare replies to one prompt, or None."""
    if len(chosen.turns) < 2 or chosen.turns[:-1] != rejected.turns[:-1]:
        return "other prompts"
    ends = (chosen.turns[-1], rejected.turns[-1])
    if any(turn.role is not Role.ASSISTANT for turn in ends):
        return "no reply"
    if any(not turn.content.strip() for turn in ends):
        return "empty reply"
    return "equal replies" if ends[0].content == ends[1].content else None
