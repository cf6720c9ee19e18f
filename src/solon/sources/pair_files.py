"""Pairs of replies to label, from a file: JSONL (`.gz` too), a JSON array, CSV or Parquet.

A row has the prompt as `prompt` or `messages`, in any form of prompts, and its two replies as `response_a` and
`response_b`, as a list `responses`, or as `chosen` and `rejected`, each in any form of `replies`. The two transcripts
of hh-rlhf, with their common turns as the prompt, and the tables of a run are such rows. A malformed row is an error
that names file and line. A well-formed row without two replies to one prompt is skipped and counted by reason, and a
row with another `outcome` than `ok` keeps it. Where the file has a preferred reply, that reply is A, so that labels can
be compared with it; no question to a judge depends on which reply is A.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.conversation import Conversation, Role, is_blank
from solon.errors import InputError
from solon.runs.outcome import Outcome
from solon.runs.rows import PairRow
from solon.sources.columns import OPTION, Columns
from solon.sources.comparison_files import Comparison, comparison_in, row_of
from solon.sources.entries import entries
from solon.sources.replies import PAIR, PROMPT, dialogues_in

FORM = 'Write {"prompt": "...", "response_a": "...", "response_b": "..."}, or hh-rlhf\'s "chosen" and "rejected"'
COLUMNS = ("prompt", "messages", "response_a", "response_b", "responses", "chosen", "rejected", "pair", "outcome")


@dataclass(frozen=True, slots=True)
class PairFile:
    """The pairs of a file in order, those with a preferred reply, and the number of skipped rows by reason."""

    pairs: tuple[PairRow, ...]
    preferred: frozenset[tuple[str, int]]
    """Row id and number of the pairs with a preferred reply, which is A."""
    skipped: Mapping[str, int]

    def rows(self, row: type[PairRow] = PairRow) -> list[PairRow]:
        """The pairs, as the stage ai-feedback reads them."""
        return list(self.pairs)


def read_pairs(path: Path, called: Mapping[str, str] | None = None) -> PairFile:
    """All pairs of a file; `called` gives its names of columns.

    Raises InputError for a missing file, a malformed row, a column in `called` that no row has, or a file without any
    pair.
    """
    pairs: list[PairRow] = []
    preferred: set[tuple[str, int]] = set()
    skipped: Counter[str] = Counter()
    taken: set[tuple[str, int]] = set()
    columns = Columns(COLUMNS, called, option=OPTION, what="file of pairs")
    for entry in entries(path, columns):
        row = row_of(entry.value, entry.place, FORM)
        found = _pair(row, entry.number, entry.place)
        if isinstance(found, str):
            skipped[found] += 1
            continue
        prompt, a, b = found
        key = _number(prompt.row_id, row.get("pair"), taken)
        taken.add(key)
        if "chosen" in row and "response_a" not in row and "responses" not in row:
            preferred.add(key)
        outcome = _outcome(row.get("outcome"), entry.place)
        if outcome is Outcome.OK and (is_blank(a) or is_blank(b)):
            outcome = Outcome.EMPTY
        pairs.append(PairRow(row_id=key[0], pair=key[1], prompt=prompt, response_a=a, response_b=b, outcome=outcome))
    if not pairs:
        reasons = ", ".join(f"{count} skipped: {why}" for why, count in skipped.items())
        cause = f"no pair of replies in the file{f' ({reasons})' if reasons else ''}"
        raise InputError(cause, place=str(path), remedy=FORM)
    columns.refuse_unmet(str(path))
    return PairFile(tuple(pairs), frozenset(preferred), dict(skipped))


def _pair(row: Mapping[str, Any], number: int, place: str) -> tuple[Conversation, str, str] | str:
    """The prompt and its two replies, or the reason why there are none."""
    if all(key in row for key in ("response_a", "response_b")):
        replies = {key: row[key] for key in ("response_a", "response_b")}
    elif "responses" in row:
        listed = row["responses"]
        if not isinstance(listed, list) or len(listed) != 2:
            raise InputError("'responses' must be a list of two replies", place=place, remedy=FORM)
        replies = {f"responses[{position}]": reply for position, reply in enumerate(listed)}
    elif all(key in row for key in PAIR):
        compared = comparison_in(row, number, place)
        return (compared.prompt, compared.chosen, compared.rejected) if isinstance(compared, Comparison) else compared
    else:
        raise InputError("the row has no two replies", place=place, remedy=FORM)
    if not any(key in row for key in PROMPT):
        raise InputError("'prompt' or 'messages' is missing", place=place, remedy=FORM)
    first, second = dialogues_in(row, replies, place, FORM)
    for conversation in (first, second):
        if conversation.turns[-1].role is not Role.ASSISTANT:
            raise InputError("a reply must be a text, or one message of the assistant", place=place, remedy=FORM)
    if first.turns[:-1] != second.turns[:-1]:
        raise InputError("the two replies do not follow the same turns", place=place, remedy=FORM)
    return Conversation(first.turns[:-1]), first.turns[-1].content.strip(), second.turns[-1].content.strip()


def _number(row_id: str, given: object, taken: set[tuple[str, int]]) -> tuple[str, int]:
    """The key of a pair: its number in the file, or the next free one for its prompt."""
    if isinstance(given, str) and given.isdecimal() and len(given) < 19:  # a cell of CSV
        given = int(given)
    number = given if isinstance(given, int) and not isinstance(given, bool) and 0 < given < 1 << 62 else 1
    while (row_id, number) in taken:
        number += 1
    return row_id, number


def _outcome(value: object, place: str) -> Outcome:
    try:
        return Outcome.OK if value is None else Outcome(str(value))
    except ValueError:
        raise InputError(
            f"unknown outcome {value!r:.40}", place=place, remedy=f"One of: {', '.join(Outcome)}"
        ) from None
