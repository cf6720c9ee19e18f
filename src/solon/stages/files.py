"""Files of prompts, read line by line, so that every complaint can say `file:line`.

Read are our JSONL (`{"prompt": messages}` or `{"prompt": "text"}`), the comparisons of hh-rlhf and TRL (`{"chosen",
"rejected"}`, as transcripts or messages), and plain text with a prompt per line; each may be gzipped. A comparison's
prompt is what its two conversations have in common, cut to end on a human turn with all earlier turns kept: red teaming
takes several turns (paper, section 3.2). Nothing is guessed: a line that gives no prompt is an error, or is counted
when a stated number of bad lines is allowed.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.conversation import Conversation, Role, Turn, conversation_of, parse_transcript
from solon.errors import InputError

FORMS = (
    'Write {"prompt": [{"role": "user", "content": "..."}]}, {"prompt": "..."} or {"chosen": "...", "rejected": "..."}'
)
_TRANSCRIPT = re.compile(r"\s*Human:")


@dataclass(frozen=True, slots=True)
class FoundPrompt:
    """A prompt and where it stands."""

    conversation: Conversation
    line: int


@dataclass(frozen=True, slots=True)
class PromptFile:
    """What a file held: its prompts in order, and the complaints about its bad lines."""

    prompts: tuple[FoundPrompt, ...]
    lines: int
    bad: tuple[InputError, ...]


def read_prompts(path: Path, *, bad_lines: int = 0) -> PromptFile:
    """The prompts of a file, of which `bad_lines` lines may be unreadable.

    Raises InputError with `file:line` of the first bad line when there are more, and when the file is missing, is no
    valid gzip file, or holds no prompt.
    """
    prompts: list[FoundPrompt] = []
    bad: list[InputError] = []
    lines = 0
    for number, raw in read_lines(path):
        lines += 1
        place = f"{path}:{number}"
        try:
            text = _decode(raw, place)
            prompts.append(FoundPrompt(prompt_of_line(text, place, plain=_is_plain(path)), number))
        except InputError as error:
            bad.append(error)
    if len(bad) > bad_lines:
        raise _too_many(bad, lines, bad_lines)
    if not prompts:
        what = "all its lines are bad" if bad else "the file is empty"
        raise InputError(f"no prompts: {what}", place=str(path), remedy=FORMS)
    return PromptFile(tuple(prompts), lines, tuple(bad))


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not blank, with their numbers from 1; `.gz` is unpacked.

    Raises InputError when the file is missing, unreadable or no valid gzip file. Only a line feed ends a line, because
    texts may hold U+2028 and its kind.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if content.strip():
                    yield number, content
    except FileNotFoundError:
        raise InputError("no such prompt file", place=str(path), remedy="Check the name in the recipe") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"no whole gzip file: {error}", place=str(path), remedy="Fetch or pack it again") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", place=str(path)) from None


def prompt_of_line(text: str, place: str, *, plain: bool) -> Conversation:
    """The prompt in one line, ending on a human turn; raises InputError, naming `place`, when there is none."""
    conversation = _from_text(text, place) if plain else _from_record(_record(text, place), place)
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


def _is_plain(path: Path) -> bool:
    name = path.name.removesuffix(".gz")
    return name.endswith((".txt", ".text"))


def _decode(raw: bytes, place: str) -> str:
    try:
        return raw.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text: {error.reason} at byte {error.start + 1}", place=place) from None


def _record(text: str, place: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise InputError(f"broken JSON: {why}", place=place, remedy=FORMS) from None
    if not isinstance(record, dict):
        raise InputError("a line must be one JSON object", place=place, remedy=FORMS)
    return record


def _from_record(record: dict[str, Any], place: str) -> Conversation:
    if "prompt" in record:
        return _from_value(record["prompt"], "prompt", place)
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
