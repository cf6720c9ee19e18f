"""Conversations and prompts.

A conversation is a list of turns. A prompt has the turns that a model reads, the role of its reply, and the first words
of the reply. Engines turn prompts into tokens through a rendering: the paper's transcript (below), which any base model
reads, or the tokenizer's chat template. There are more roles than human and assistant because the supervised stage of
the paper continues the same transcript with `Critique Request`, `Critique`, `Revision Request` and `Revision`
(section 3.1); a chat template shows the requests as user turns and the model's own turns as assistant turns.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from solon.digest import digest
from solon.errors import InputError


class Role(StrEnum):
    """The speaker of a turn."""

    SYSTEM = "system"
    HUMAN = "human"
    ASSISTANT = "assistant"
    CRITIQUE_REQUEST = "critique_request"
    CRITIQUE = "critique"
    REVISION_REQUEST = "revision_request"
    REVISION = "revision"
    QUESTION = "question"
    """A question, without a label in the transcript (the paper's multiple-choice form, section 4.1)."""
    REASONING = "reasoning"
    """The judge's own reasoning before its answer (chain of thought, section 4.1)."""
    ANSWER = "answer"
    LIST = "list"
    """The rest of a numbered list, without a label, right after the start of the list."""


LABELS: Mapping[Role, str] = {
    Role.SYSTEM: "System",
    Role.HUMAN: "Human",
    Role.ASSISTANT: "Assistant",
    Role.CRITIQUE_REQUEST: "Critique Request",
    Role.CRITIQUE: "Critique",
    Role.REVISION_REQUEST: "Revision Request",
    Role.REVISION: "Revision",
    Role.REASONING: "Let's think step by step",
    Role.ANSWER: "The answer is",
}
MODEL_ROLES = frozenset({Role.ASSISTANT, Role.CRITIQUE, Role.REVISION, Role.REASONING, Role.ANSWER})
TRAINER_ROLES: Mapping[str, Role] = {"user": Role.HUMAN, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: its speaker and its text, without label or surrounding white space."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order; a prompt ends on a human turn."""

    turns: tuple[Turn, ...]

    @property
    def row_id(self) -> str:
        """The content hash of this conversation, its id in every table."""
        return digest([(turn.role.value, turn.content) for turn in self.turns])

    def messages(self) -> list[dict[str, str]]:
        """The turns in the form of other trainers: `[{"role": "user", "content": ...}, ...]`."""
        return [
            {"role": "user" if turn.role is Role.HUMAN else turn.role.value, "content": turn.content}
            for turn in self.turns
        ]

    def with_reply(self, reply: str) -> Conversation:
        """This conversation with one more assistant turn."""
        return Conversation((*self.turns, Turn(Role.ASSISTANT, reply)))


def is_blank(text: str) -> bool:
    """Whether a text is empty, or has only white space and invisible characters."""
    return not any(unicodedata.category(each) not in _UNSEEN for each in text)


_UNSEEN = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
"""Unicode's categories of control characters, invisible marks (zero-width spaces) and separators."""


def conversation_of(messages: Iterable[Mapping[str, str]], *, place: str = "") -> Conversation:
    """A conversation from messages of other trainers; raises InputError at `place` for an unknown role or no text."""
    turns = []
    for number, message in enumerate(messages, start=1):
        role = TRAINER_ROLES.get(str(message.get("role")), None)
        content = message.get("content")
        if role is None or not isinstance(content, str):
            known = ", ".join(TRAINER_ROLES)
            raise InputError(
                f"message {number} needs a role ({known}) and a text as content",
                place=place,
                remedy='Write messages as {"role": "user", "content": "..."}',
            )
        turns.append(Turn(role, content))
    return Conversation(tuple(turns))


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question to a model: the turns that it reads, the role of its reply, and the first words of the reply.

    `shared` counts the first turns that many prompts have in common (worked examples), so that an engine can cache
    them; it never changes what the model reads.
    """

    turns: tuple[Turn, ...]
    reply_as: Role = Role.ASSISTANT
    opening: str = ""
    shared: int = 0


class Rendering(Protocol):
    """Turns a prompt into the text that is tokenized."""

    name: str

    def render(self, prompt: Prompt) -> tuple[str, str]:
        """The text of the shared turns, and the rest; the model reads their concatenation."""
        ...

    def completion(self, reply: str, reply_as: Role = Role.ASSISTANT) -> str:
        """The text of `reply` after the rendered prompt in training, without the end of the turn."""
        ...

    def stops(self) -> tuple[str, ...]:
        """Texts at which a reply ends because another speaker begins."""
        ...


class TranscriptRendering:
    r"""The paper's transcript: `\n\nHuman: ...\n\nAssistant: ...` (section 1.2 and appendix E)."""

    name = "transcript"

    def render(self, prompt: Prompt) -> tuple[str, str]:
        """See `Rendering.render`; the text ends on the reply's label, so a reply starts with a space."""
        shared = "".join(_transcript_turn(turn) for turn in prompt.turns[: prompt.shared])
        own = "".join(_transcript_turn(turn) for turn in prompt.turns[prompt.shared :])
        if prompt.reply_as is Role.LIST:
            return shared, f"{own}\n{prompt.opening}"
        opening = f" {prompt.opening}" if prompt.opening else ""
        return shared, f"{own}\n\n{LABELS[prompt.reply_as]}:{opening}"

    def completion(self, reply: str, reply_as: Role = Role.ASSISTANT) -> str:
        """A space, then the reply; every label is followed by one."""
        return f" {escape_labels(reply)}"

    def stops(self) -> tuple[str, ...]:
        """Every label that opens a turn."""
        return tuple(f"\n\n{label}:" for label in LABELS.values())


def _transcript_turn(turn: Turn) -> str:
    if turn.role is Role.QUESTION:
        return f"\n\n{turn.content}"
    return f"\n\n{LABELS[turn.role]}: {escape_labels(turn.content)}"


def escape_labels(text: str) -> str:
    r"""The text for a transcript: a label after a blank line gets a space in front, so that it does not open a turn.

    Without this, "\n\nHuman: ..." or "\n\nThe answer is: ..." in a prompt or reply would open a turn of another
    speaker. The conversation itself, and so the row id, keeps the original text.
    """
    for label in LABELS.values():
        text = text.replace(f"\n\n{label}:", f"\n\n {label}:")
    return text


def transcript(turns: Sequence[Turn]) -> str:
    """The turns as a transcript, without a cue for a reply."""
    return "".join(_transcript_turn(turn) for turn in turns)


_SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_LINE_BREAK = re.compile(r"\r\n?")


def parse_transcript(text: str, *, place: str = "") -> Conversation:
    r"""Read a transcript in the form of hh-rlhf, `\n\nHuman: ...\n\nAssistant: ...`.

    Only a label after a blank line (or at the very start) opens a turn, so colons, blank lines and the words "Human:"
    within a line are part of the text. White space around a turn is removed, and every line break becomes a line feed.
    Raises InputError when the text does not begin with a label.
    """
    text = _LINE_BREAK.sub("\n", text)
    marks = list(_SPEAKER.finditer(text))
    if not marks or text[: marks[0].start()].strip():
        raise InputError(
            "a transcript must begin with 'Human:'", place=place, remedy=r"Write '\n\nHuman: ...\n\nAssistant: ...'"
        )
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return Conversation(
        tuple(
            Turn(Role.HUMAN if mark[1] == "Human" else Role.ASSISTANT, text[mark.end() : end].strip())
            for mark, end in zip(marks, ends, strict=True)
        )
    )
