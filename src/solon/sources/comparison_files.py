r"""Human comparisons from a file: the preferred one of two replies to a prompt.

A row has `chosen` and `rejected`, with the prompt as `prompt` or `messages`, or as the common turns of two whole
dialogues such as hh-rlhf's transcripts, {"chosen": "\n\nHuman: ...", "rejected": ...}. Every form of `replies` is read
from JSONL, a JSON array, CSV and Parquet. A malformed row is an error that names file and line. A well-formed row that
is not a comparison (different prompts, an empty reply, equal replies) is skipped and counted by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solon.conversation import Conversation, Role, is_blank
from solon.errors import InputError
from solon.sources.columns import Columns
from solon.sources.entries import entries
from solon.sources.replies import PAIR, dialogues_in

COLUMNS = ("prompt", "messages", *PAIR)
OF_LABELS = ("p_chosen", "outcome")
"""The additional columns of label files."""
_FORM = 'Write {"prompt": messages, "chosen": messages, "rejected": messages}, or hh-rlhf\'s two transcripts'


@dataclass(frozen=True, slots=True)
class Comparison:
    """A prompt, the reply that a human preferred, and the other one; `line` counts from 1."""

    prompt: Conversation
    chosen: str
    rejected: str
    line: int


@dataclass(slots=True)
class Comparisons:
    """The comparisons of a file, and the number of skipped rows by reason."""

    rows: list[Comparison] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def read_comparisons(path: Path, columns: Columns | None = None) -> Comparisons:
    """All comparisons of a file, in order; raises InputError for a missing or empty file or a malformed row."""
    found = Comparisons()
    for entry in entries(path, columns or comparison_columns()):
        compared = comparison_in(row_of(entry.value, entry.place), entry.number, entry.place)
        if isinstance(compared, Comparison):
            found.rows.append(compared)
        else:
            found.skipped[compared] += 1
    if not found.rows:
        reasons = ", ".join(f"{count} skipped: {why}" for why, count in found.skipped.items())
        cause = f"no usable comparison in the file{f' ({reasons})' if reasons else ''}"
        raise InputError(cause, place=str(path), remedy=_FORM)
    return found


def read_all_comparisons(files: Mapping[str, Path], called: Mapping[str, str] | None) -> dict[str, Comparisons]:
    """The comparisons of files by name; `called` gives their names of columns, those of labels aside.

    Raises what `read_comparisons` raises, and InputError for a column in `called` that no file has.
    """
    columns = comparison_columns({name: column for name, column in (called or {}).items() if name not in OF_LABELS})
    found = {name: read_comparisons(file, columns) for name, file in files.items()}
    if files:
        columns.refuse_unmet(", ".join(map(str, files.values())))
    return found


def comparison_columns(called: Mapping[str, str] | None = None) -> Columns:
    """The columns of comparisons; raises InputError for an unknown name in `called`."""
    return Columns(COLUMNS, called, option="--set preference.columns.", what="file of comparisons")


def row_of(value: str | Mapping[str, Any] | InputError, place: str, remedy: str = _FORM) -> Mapping[str, Any]:
    """The row in an entry; raises InputError for a bad row, and for a text."""
    if isinstance(value, InputError):
        raise InputError(value.cause, place=value.place, remedy=value.remedy)
    if isinstance(value, str):
        raise InputError("a line of text is not a pair of replies", place=place, remedy=remedy)
    return value


def comparison_in(row: Mapping[str, Any], number: int, place: str) -> Comparison | str:
    """The comparison in a row, or the reason why there is none; raises InputError for a malformed row."""
    if any(row.get(key) is None for key in PAIR):
        raise InputError("'chosen' or 'rejected' is missing", place=place, remedy=_FORM)
    chosen, rejected = dialogues_in(row, {key: row[key] for key in PAIR}, place, _FORM)
    reason = _unusable(chosen, rejected)
    if reason is not None:
        return reason
    better, worse = (each.turns[-1].content.strip() for each in (chosen, rejected))
    return Comparison(Conversation(chosen.turns[:-1]), better, worse, number)


def _unusable(chosen: Conversation, rejected: Conversation) -> str | None:
    """The reason why two conversations are not a comparison, or None."""
    if len(chosen.turns) < 2 or chosen.turns[:-1] != rejected.turns[:-1]:
        return "other prompts"
    ends = (chosen.turns[-1], rejected.turns[-1])
    if any(turn.role is not Role.ASSISTANT for turn in ends):
        return "no reply"
    if any(is_blank(turn.content) for turn in ends):
        return "empty reply"
    return "equal replies" if ends[0].content.strip() == ends[1].content.strip() else None
