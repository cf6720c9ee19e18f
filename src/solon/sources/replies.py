r"""Reads prompts and replies in their usual forms: texts, transcripts, and lists of messages.

The prompt of a row may be a text, a transcript or messages. A reply may be a text, messages of the assistant, or a
whole dialogue that repeats the prompt, which is then used once. Nothing else is guessed: a dialogue that opens with the
assistant, and a reply that begins with a human turn that is not in the prompt, are errors that name their place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from solon.conversation import Conversation, Role, Turn, conversation_of, is_blank, parse_transcript
from solon.errors import InputError

PAIR = ("chosen", "rejected")
PROMPT = ("prompt", "messages")
LONG = 20
"""A prompt of at least this many characters with which both replies begin counts as repeated in them."""
_LABELLED = re.compile(r"\s*(?:Human|Assistant):")


def conversation_in(value: object, key: str, place: str, forms: str) -> Conversation:
    """The conversation in a column: a transcript, one human turn of text, or messages; raises InputError otherwise."""
    if isinstance(value, str):
        if _LABELLED.match(value):
            return parse_transcript(value, place=place)
        return Conversation((Turn(Role.HUMAN, value),))
    if isinstance(value, list) and all(isinstance(message, dict) for message in value):
        return conversation_of(value, place=place)
    raise InputError(f"'{key}' must be text or a list of messages", place=place, remedy=forms)


def dialogue_in(value: object, key: str, place: str, forms: str) -> Conversation:
    """The dialogue of both sides in a column, as a transcript or messages; raises InputError otherwise."""
    if isinstance(value, str):
        return parse_transcript(value, place=place)
    if isinstance(value, list) and all(isinstance(message, dict) for message in value):
        return conversation_of(value, place=place)
    raise InputError(f"'{key}' must be a text, a list of messages or a transcript", place=place, remedy=forms)


def cut_to_human(turns: Sequence[Turn]) -> Conversation:
    """The turns, stripped, up to the last human turn that is not blank."""
    stripped = [Turn(turn.role, turn.content.strip()) for turn in turns]
    while stripped and not (stripped[-1].role is Role.HUMAN and not is_blank(stripped[-1].content)):
        stripped.pop()
    return Conversation(tuple(stripped))


def prompt_in(value: object, key: str, place: str, forms: str) -> Conversation:
    """The prompt in a column, ending on a human turn; raises InputError when there is none."""
    return ending_on_human(conversation_in(value, key, place, forms).turns, place, forms)


def ending_on_human(turns: Sequence[Turn], place: str, forms: str) -> Conversation:
    """`cut_to_human`, which raises InputError when nothing is left or the assistant opens the dialogue."""
    prompt = cut_to_human(turns)
    if not prompt.turns:
        raise InputError("no human turn with text to reply to", place=place, remedy=forms)
    refuse_opening_assistant(prompt, place)
    return prompt


def refuse_opening_assistant(conversation: Conversation, place: str) -> None:
    """Raise InputError when the first turn of a dialogue, after system turns, is the assistant's."""
    first = next((turn for turn in conversation.turns if turn.role is not Role.SYSTEM), None)
    if first is not None and first.role is not Role.HUMAN:
        raise InputError(
            "the dialogue opens with the assistant",
            place=place,
            remedy="Remove its first turn, or add the human turn before it",
        )


def dialogues_in(
    row: Mapping[str, Any], replies: Mapping[str, object], place: str, forms: str
) -> tuple[Conversation, ...]:
    """The replies of a row, given by column name, each after its prompt.

    The prompt is the row's `prompt` or `messages`; without one, each reply must be a whole dialogue. Raises InputError.
    """
    key = next((name for name in PROMPT if name in row), None)
    prompt = prompt_in(row[key], key, place, forms) if key is not None else None
    if prompt is not None:
        _refuse_repeated(prompt, replies, place)
    found = tuple(_whole(prompt, value, name, place, forms) for name, value in replies.items())
    for conversation in found:
        refuse_opening_assistant(conversation, place)
    return found


def _whole(prompt: Conversation | None, value: object, key: str, place: str, forms: str) -> Conversation:
    if isinstance(value, str) and prompt is not None and not _LABELLED.match(value):
        return prompt.with_reply(value.strip())
    said = dialogue_in(value, key, place, forms)
    return said if prompt is None else _joined(prompt.turns, said.turns, key, place)


def _joined(prompt: tuple[Turn, ...], said: tuple[Turn, ...], key: str, place: str) -> Conversation:
    """The prompt and the reply's turns, without the turns that the reply repeats."""
    system = next((number for number, turn in enumerate(said) if turn.role is not Role.SYSTEM), len(said))
    if prompt[0].role is not Role.SYSTEM and system > 0 and (shared := _overlap(prompt, said[system:])):
        return Conversation((*said[:system], *prompt, *said[system + shared :]))
    shared = _overlap(prompt, said)
    if not shared and said and said[0].role is not Role.ASSISTANT:
        raise InputError(
            f"'{key}' begins with a {said[0].role.value} turn that is not the prompt's",
            place=place,
            remedy="Write only the replies, or dialogues that repeat 'prompt', or leave 'prompt' out",
        )
    return Conversation((*prompt, *said[shared:]))


def _overlap(prompt: Sequence[Turn], said: Sequence[Turn]) -> int:
    """The number of turns at the end of the prompt that the reply repeats at its beginning."""
    ends, starts = ([(turn.role, turn.content.strip()) for turn in turns] for turns in (prompt, said))
    return next((n for n in range(min(len(ends), len(starts)), 0, -1) if ends[-n:] == starts[:n]), 0)


def _refuse_repeated(prompt: Conversation, replies: Mapping[str, object], place: str) -> None:
    """Raise InputError when both replies are texts that begin with the prompt's text."""
    asked = prompt.turns[-1].content
    if (
        len(replies) > 1
        and len(asked) >= LONG
        and all(isinstance(value, str) and value.strip().startswith(asked) for value in replies.values())
    ):
        names = " and ".join(map(repr, replies))
        raise InputError(
            f"{names} begin with the text of the prompt", place=place, remedy="Leave the prompt out of the replies"
        )
