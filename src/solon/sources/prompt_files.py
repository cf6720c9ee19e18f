"""Prompts from any source, each complaint with its `file:line` (or row).

A row gives a prompt in one of the forms of `FORMS`: our own (`prompt`), a dialogue (`messages`), the `transcript` of a
red-team attempt, or the comparisons of hh-rlhf and TRL (`chosen`, `rejected`, as transcripts or messages), whose prompt
is what the two conversations have in common. Each is cut to end on a human turn with all earlier turns kept, because
red teaming takes several turns (paper, section 3.2). Nothing is guessed: a row that gives no prompt is an error, or is
counted when a stated number of bad lines is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.conversation import Conversation, Role, Turn, conversation_of, parse_transcript
from solon.errors import InputError
from solon.sources.entries import FORMS, entries

_TRANSCRIPT = re.compile(r"\s*Human:")
_WHOLE = ("prompt", "messages", "transcript")
"""Keys whose value is one conversation, in the order in which they are looked for."""


@dataclass(frozen=True, slots=True)
class FoundPrompt:
    """A prompt and where it stands."""

    conversation: Conversation
    line: int
    """The line of a file, or the row of a table, counted from one."""
    place: str
    """`file:line`, for messages."""


@dataclass(frozen=True, slots=True)
class PromptFile:
    """What a source held: its prompts in order, and the complaints about its bad lines."""

    prompts: tuple[FoundPrompt, ...]
    lines: int
    bad: tuple[InputError, ...]


def read_prompts(source: Path | str, *, bad_lines: int = 0) -> PromptFile:
    """The prompts of a source (see `solon.sources.entries.located`), of which `bad_lines` lines may be unreadable.

    Raises InputError with `file:line` of the first bad line when there are more, and when the source is missing,
    damaged as a whole, or holds no prompt.
    """
    prompts: list[FoundPrompt] = []
    bad: list[InputError] = []
    lines = 0
    for entry in entries(source):
        lines += 1
        try:
            if isinstance(entry.value, InputError):
                raise entry.value
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
    conversation = _from_text(value, place) if isinstance(value, str) else _from_record(value, place)
    prompt = cut_to_human(conversation.turns)
    if not prompt.turns:
        raise InputError("no human turn with any text to reply to", place=place, remedy=FORMS)
    _refuse_half_characters(prompt, place)
    return prompt


def cut_to_human(turns: Sequence[Turn]) -> Conversation:
    """The turns, stripped, up to the last human turn that says anything."""
    stripped = [Turn(turn.role, turn.content.strip()) for turn in turns]
    while stripped and not (stripped[-1].role is Role.HUMAN and stripped[-1].content):
        stripped.pop()
    return Conversation(tuple(stripped))


def _from_record(record: Mapping[str, Any], place: str) -> Conversation:
    for key in _WHOLE:
        if key in record:
            return _from_value(record[key], key, place)
    if "chosen" not in record:
        keys = ", ".join(map(repr, record)) or "nothing"
        raise InputError(f"neither 'prompt' nor 'chosen' (found {keys})", place=place, remedy=FORMS)
    chosen = _from_value(record["chosen"], "chosen", place).turns
    if "rejected" not in record:
        return Conversation(chosen)
    rejected = _from_value(record["rejected"], "rejected", place).turns
    shared = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
    return Conversation(chosen[:shared] if shared is not None else chosen[: min(len(chosen), len(rejected))])


def _from_value(value: object, key: str, place: str) -> Conversation:
    if isinstance(value, str):
        return _from_text(value, place)
    if isinstance(value, list) and all(isinstance(message, dict) for message in value):
        return conversation_of(value, place=place)
    raise InputError(f"'{key}' must be text or a list of messages", place=place, remedy=FORMS)


def _from_text(text: str, place: str) -> Conversation:
    if _TRANSCRIPT.match(text):
        return parse_transcript(text, place=place)
    return Conversation((Turn(Role.HUMAN, text),))


def _refuse_half_characters(prompt: Conversation, place: str) -> None:
    for turn in prompt.turns:
        try:
            turn.content.encode("utf-8")
        except UnicodeEncodeError as error:
            cause = f"half a character (lone surrogate U+{ord(turn.content[error.start]):04X})"
            raise InputError(cause, place=place, remedy="Write it as UTF-8, or drop the line") from None


def _too_many(bad: Sequence[InputError], lines: int, allowed: int) -> InputError:
    first = bad[0]
    count = f" ({len(bad)} of {lines} lines are bad)" if len(bad) > 1 else ""
    skip = f"To skip bad lines: --set prompts.bad_lines={len(bad)}"
    limit = f"; {allowed} allowed" if allowed else ""
    remedy = f"{first.remedy}. {skip}" if first.remedy else skip
    return InputError(f"{first.cause}{count}{limit}", place=first.place, remedy=remedy)
