"""Prompts from any source; every error names its `file:line` (or row).

A row has a prompt in one of the forms of `FORMS`: Solon's own (`prompt`), a dialogue (`messages`), the `transcript` of
a red-team attempt, or a comparison of hh-rlhf or TRL (`chosen`, `rejected`, as transcripts or messages); the prompt of
a comparison is the common beginning of the two. Each prompt is cut to end on a human turn and keeps all earlier turns,
because red teaming takes several turns (paper, section 3.2). Nothing is guessed: a row without a prompt is an error, or
is counted when the recipe allows bad lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.conversation import Conversation
from solon.errors import InputError
from solon.sources.columns import Columns
from solon.sources.entries import FORMS, entries
from solon.sources.replies import conversation_in, dialogue_in, ending_on_human
from solon.sources.replies import cut_to_human as cut_to_human

_WHOLE = ("prompt", "messages", "transcript")
"""The keys of a single conversation, in order of precedence."""


@dataclass(frozen=True, slots=True)
class FoundPrompt:
    """A prompt and its place."""

    conversation: Conversation
    line: int
    """The line of a file, or the row of a table, counted from 1."""
    place: str
    """`file:line`, for messages."""


@dataclass(frozen=True, slots=True)
class PromptFile:
    """The prompts of a source in order, and the errors of its bad lines."""

    prompts: tuple[FoundPrompt, ...]
    lines: int
    bad: tuple[InputError, ...]


def read_prompts(source: Path | str, *, bad_lines: int = 0, columns: Columns | None = None) -> PromptFile:
    """The prompts of a source (see `solon.sources.entries.located`), in which up to `bad_lines` lines may be bad.

    Raises InputError with `file:line` of the first bad line when there are more, and when the source is missing,
    damaged, or without any prompt.
    """
    prompts: list[FoundPrompt] = []
    bad: list[InputError] = []
    lines = 0
    for entry in entries(source, columns):
        lines += 1
        try:
            if isinstance(entry.value, InputError):
                raise entry.value
            if not entry.value:
                raise _nothing(entry.record, entry.place, columns or Columns())
            prompts.append(FoundPrompt(prompt_of(entry.value, entry.place), entry.number, entry.place))
        except InputError as error:
            bad.append(error)
    if len(bad) > bad_lines:
        raise _too_many(bad, lines, bad_lines)
    if not prompts:
        what = "all its lines are bad" if bad else "the file is empty"
        raise InputError(f"no prompts: {what}", place=str(source), remedy=FORMS)
    return PromptFile(tuple(prompts), lines, tuple(bad))


def prompt_of(value: str | Mapping[str, Any], place: str) -> Conversation:
    """The prompt in one row, ending on a human turn; raises InputError, naming `place`, when there is none."""
    found = conversation_in(value, "prompt", place, FORMS) if isinstance(value, str) else _from_record(value, place)
    return ending_on_human(found.turns, place, FORMS)


def _from_record(record: Mapping[str, Any], place: str) -> Conversation:
    for key in _WHOLE:
        if key in record:
            return conversation_in(record[key], key, place, FORMS)
    if "chosen" not in record:
        raise _nothing(record, place, Columns())
    chosen = dialogue_in(record["chosen"], "chosen", place, FORMS).turns
    if "rejected" not in record:
        return Conversation(chosen)
    rejected = dialogue_in(record["rejected"], "rejected", place, FORMS).turns
    shared = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
    return Conversation(chosen[:shared] if shared is not None else chosen[: min(len(chosen), len(rejected))])


def _nothing(record: Mapping[str, Any], place: str, columns: Columns) -> InputError:
    if empty := next((name for key in columns.read if (name := columns.called.get(key, key)) in record), None):
        return InputError(f"'{empty}' is empty", place=place, remedy="Write its text, or leave the row out")
    keys = ", ".join(map(repr, record)) or "nothing"
    remedy = f"{FORMS}, or name its column: {columns.example}"
    return InputError(f"neither 'prompt' nor 'chosen' (found {keys:.200})", place=place, remedy=remedy)


def _too_many(bad: Sequence[InputError], lines: int, allowed: int) -> InputError:
    first = bad[0]
    count = f" ({len(bad)} of {lines} lines are bad)" if len(bad) > 1 else ""
    # Skipping every line of a file does not help.
    skip = [f"To skip bad lines: --set prompts.bad_lines={len(bad)}"] if len(bad) < lines else []
    limit = f"; {allowed} allowed" if allowed else ""
    remedy = ". ".join([*([first.remedy] if first.remedy else []), *skip])
    return InputError(f"{first.cause}{count}{limit}", place=first.place, remedy=remedy)
