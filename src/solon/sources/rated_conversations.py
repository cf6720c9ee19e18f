r"""Conversations that people rated for harm, in the format of hh-rlhf's red-team attempts (Ganguli et al. 2022).

A row has `transcript` (`\n\nHuman: ...\n\nAssistant: ...`) or `messages`, and `rating`: how successful the red team was
in getting harm out of the assistant, from 0 (not at all) to 4 (very). Means of several ratings count as well. Every
form of `entries` is read: JSONL, a JSON array (which the published file is), CSV and Parquet. Other columns are not
read. A malformed row is an error that names file and line, never a rating of 0. A well-formed row whose conversation
has no reply at its end is skipped and counted by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.conversation import Conversation, Role, is_blank
from solon.errors import InputError
from solon.sources.columns import Columns
from solon.sources.comparison_files import row_of
from solon.sources.entries import FileForm, entries, file_form
from solon.sources.replies import dialogue_in, refuse_opening_assistant

LEAST, MOST = 0.0, 4.0
"""The ends of the scale (paper, section 5)."""
HELD_OUT = "prompt is held out"
"""Why a conversation is not learned from although it is well-formed."""
COLUMNS = ("transcript", "messages", "rating")
FORM = r'Write {"transcript": "\n\nHuman: ...\n\nAssistant: ...", "rating": 0 to 4}, as red_team_attempts.jsonl has it'


@dataclass(frozen=True, slots=True)
class RatedConversation:
    """A whole conversation that ends on a reply, its rating, and the file and line that it comes from."""

    conversation: Conversation
    rating: float
    source: str
    line: int

    @property
    def prompt_id(self) -> str:
        """The row id of everything before the last reply."""
        return Conversation(self.conversation.turns[:-1]).row_id


@dataclass(frozen=True, slots=True)
class RatedConversations:
    """The rated conversations of files, in order, and the number of skipped rows by reason."""

    rows: tuple[RatedConversation, ...]
    skipped: Mapping[str, int]


def read_ratings(files: Sequence[Path], called: Mapping[str, str] | None = None) -> RatedConversations:
    """All rated conversations of files.

    `called` gives the files' names of columns. Raises InputError naming file and line of a malformed row, for a missing
    file, and for a file without any usable row.
    """
    columns = Columns(COLUMNS, called, option="--columns ", what="file of ratings")
    rows: list[RatedConversation] = []
    skipped = Counter[str]()
    for file in files:
        before = len(rows)
        for entry in entries(file, columns):
            found = _rated(row_of(entry.value, entry.place, FORM), file, entry.number, entry.place)
            if isinstance(found, RatedConversation):
                rows.append(found)
            else:
                skipped[found] += 1
        if len(rows) == before:
            raise InputError("no rated conversation in the file", place=str(file), remedy=FORM)
    columns.refuse_unmet(", ".join(map(str, files)))
    return RatedConversations(tuple(rows), dict(sorted(skipped.items())))


def without_prompts_of(rated: RatedConversations, held_out: RatedConversations) -> RatedConversations:
    """The rated conversations without those whose prompt is held out, which count as skipped.

    Raises InputError when nothing is left.
    """
    apart = {each.prompt_id for each in held_out.rows}
    kept = tuple(each for each in rated.rows if each.prompt_id not in apart)
    left_out = len(rated.rows) - len(kept)
    if not left_out:
        return rated
    if not kept:
        raise InputError(
            "every rated conversation has a prompt that is held out",
            place=held_out.rows[0].source,
            remedy="Hold out a file of other prompts",
        )
    return RatedConversations(kept, {**rated.skipped, HELD_OUT: left_out})


def _rated(row: Mapping[str, Any], file: Path, line: int, place: str) -> RatedConversation | str:
    """The rated conversation of a row, or why it cannot be used; raises InputError for a malformed row."""
    key = next((name for name in ("transcript", "messages") if name in row), None)
    if key is None or "rating" not in row:
        missing = "'transcript' or 'messages'" if key is None else "'rating'"
        raise InputError(f"{missing} is missing", place=place, remedy=FORM)
    rating = _rating(row["rating"], file, place)
    conversation = dialogue_in(row[key], key, place, FORM)
    refuse_opening_assistant(conversation, place)
    if not conversation.turns or conversation.turns[-1].role is not Role.ASSISTANT:
        return "no reply at the end"
    if is_blank(conversation.turns[-1].content):
        return "empty reply"
    return RatedConversation(conversation, rating, file.name, line)


def _rating(value: object, file: Path, place: str) -> float:
    if isinstance(value, str) and file_form(file) is FileForm.TABLE:
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not LEAST <= value <= MOST:
        raise InputError(
            f"'rating' must be a number from {LEAST:g} to {MOST:g}, not {value!r:.40}", place=place, remedy=FORM
        )
    return float(value)
