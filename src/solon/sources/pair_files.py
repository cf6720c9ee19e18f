"""Pairs of replies to be labelled, from a file: JSONL (`.gz` too), a JSON array or Parquet.

A row holds the prompt as `prompt` or `messages`, in any form that prompts are read in, and its two replies as
`response_a` and `response_b`, as a list `responses`, or as `chosen` and `rejected`; hh-rlhf's two transcripts, whose
common turns are the prompt, and the tables of a run are such rows. A row of another form is an error that names file
and line. A row that is well-formed and yet holds no two replies to one prompt is skipped and counted by reason, and one
whose `outcome` is not `ok` is kept with it. Where a file tells which reply was preferred, that one is called A, so that
labels can be compared with it; nothing that is asked depends on what a reply is called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.conversation import Conversation, Role
from solon.errors import InputError
from solon.outcome import Outcome
from solon.sources.comparisons import Comparison, comparison_in, conversation_from
from solon.sources.entries import entries
from solon.sources.prompt_files import prompt_of

FORM = 'Write {"prompt": "...", "response_a": "...", "response_b": "..."}, or hh-rlhf\'s "chosen" and "rejected"'
COLUMNS = ("prompt", "messages", "response_a", "response_b", "responses", "chosen", "rejected", "pair", "outcome")
Pair = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PairFile:
    """The pairs of a file in order, those of them that tell a choice, and what was skipped by reason."""

    pairs: tuple[Pair, ...]
    preferred: frozenset[tuple[str, int]]
    """Row id and number of the pairs whose reply A is the one that the file prefers."""
    skipped: Mapping[str, int]

    def rows(self) -> list[Pair]:
        """Rows as the stage ai-feedback reads them."""
        return list(self.pairs)


def read_pairs(path: Path) -> PairFile:
    """All pairs of a file; raises InputError for a missing file, a malformed row, or a file without any pair."""
    pairs: list[Pair] = []
    preferred: set[tuple[str, int]] = set()
    skipped: Counter[str] = Counter()
    taken: set[tuple[str, int]] = set()
    for entry in entries(path, COLUMNS):
        if isinstance(entry.value, InputError):
            raise entry.value
        if isinstance(entry.value, str):
            raise InputError("a line of text is no pair of replies", place=entry.place, remedy=FORM)
        found = _pair(entry.value, entry.number, entry.place)
        if isinstance(found, str):
            skipped[found] += 1
            continue
        prompt, a, b = found
        key = _number(prompt.row_id, entry.value.get("pair"), taken)
        taken.add(key)
        if "chosen" in entry.value and "response_a" not in entry.value and "responses" not in entry.value:
            preferred.add(key)
        outcome = _outcome(entry.value.get("outcome"), entry.place)
        if outcome is Outcome.OK and not (a and b):
            outcome = Outcome.EMPTY
        row = {"row_id": key[0], "pair": key[1], "prompt": prompt.messages(), "response_a": a, "response_b": b}
        pairs.append({**row, "outcome": outcome.value})
    if not pairs:
        raise InputError("the file holds no pair of replies", place=str(path), remedy=FORM)
    return PairFile(tuple(pairs), frozenset(preferred), dict(skipped))


def _pair(record: Mapping[str, Any], number: int, place: str) -> tuple[Conversation, str, str] | str:
    """The prompt and its two replies, or in a few words why there are none."""
    if record.get("response_a") is not None and record.get("response_b") is not None:
        replies = [record["response_a"], record["response_b"]]
    elif record.get("responses") is not None:
        replies = record["responses"]
        if not isinstance(replies, list) or len(replies) != 2:
            raise InputError("'responses' must be a list of two replies", place=place, remedy=FORM)
    elif record.get("chosen") is not None and record.get("rejected") is not None:
        if record.get("prompt") is None or not all(isinstance(record[key], str) for key in ("chosen", "rejected")):
            compared = comparison_in(record, number, place)
            return (
                (compared.prompt, compared.chosen, compared.rejected) if isinstance(compared, Comparison) else compared
            )
        replies = [record["chosen"], record["rejected"]]
    else:
        raise InputError("the row lacks two replies", place=place, remedy=FORM)
    if not any(record.get(key) is not None for key in ("prompt", "messages")):
        raise InputError("the row lacks 'prompt' or 'messages'", place=place, remedy=FORM)
    said = {key: record[key] for key in ("prompt", "messages") if record.get(key) is not None}
    first, second = (_reply(reply, place) for reply in replies)
    return prompt_of(said, place), first, second


def _reply(value: object, place: str) -> str:
    """One reply, as text or as a list of one message of the assistant."""
    if isinstance(value, str):
        return value.strip()
    turns = conversation_from(value, place).turns
    if len(turns) != 1 or turns[0].role is not Role.ASSISTANT:
        raise InputError("a reply is a text, or one message of the assistant", place=place, remedy=FORM)
    return turns[0].content.strip()


def _number(row_id: str, given: object, taken: set[tuple[str, int]]) -> tuple[str, int]:
    """A pair's key: the number that it has in the file, or the next that is free for its prompt."""
    number = given if isinstance(given, int) and not isinstance(given, bool) and given > 0 else 1
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
