"""Separates a reasoning model's thoughts from its reply.

Reasoning models put their thoughts between two tags, mostly `<think>` and `</think>`; with some the chat template
writes the first tag, so that the text begins inside. Thoughts are cut from every completion before anything reads it:
a critique, a revision or a judgement is the text after them. They are recorded separately. A block that is never closed
means that the model was cut off before it replied, whatever else ended the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from solon.engines.base import Completion, Finish


class Tags(NamedTuple):
    """The texts that open and close a block of thoughts."""

    opening: str
    closing: str


THINK = Tags("<think>", "</think>")
"""The tags of DeepSeek-R1, Qwen3, SmolLM3 and most others; searched for in every model's texts."""
OTHERS = (
    Tags("<thinking>", "</thinking>"),
    Tags("<thought>", "</thought>"),
    Tags("<reasoning>", "</reasoning>"),
    Tags("<seed:think>", "</seed:think>"),
    Tags("[THINK]", "[/THINK]"),
    Tags("<|START_THINKING|>", "<|END_THINKING|>"),
)
"""Searched for only if the model's chat template or its added tokens contain them; elsewhere they are ordinary text."""


class Thought(NamedTuple):
    """A text split into thoughts and reply."""

    thoughts: str
    reply: str
    closed: bool
    """False when the text ended inside a block; `reply` is then the text before the block."""


def tags_known(template: str, added_tokens: Iterable[str] = ()) -> tuple[Tags, ...]:
    """The tags that a model uses: `THINK`, and those that its chat template or its vocabulary names."""
    added = set(added_tokens)
    return (THINK, *(tags for tags in OTHERS if any(tag in template or tag in added for tag in tags)))


def opened_in(text: str, tags: Sequence[Tags]) -> Tags | None:
    """The tags of a block that the end of a prompt's text opens, if any."""
    return next((each for each in tags if text.rstrip().endswith(each.opening)), None)


def split_thoughts(text: str, tags: Sequence[Tags] = (THINK,), opened: Tags | None = None) -> Thought:
    """The thoughts and the reply in a text that a model wrote; `opened` is the block in which the text begins.

    A closing tag without an opening one closes a block that began with the text: some templates write the opening tag.
    """
    thoughts: list[str] = []
    closed = True
    rest = opened.opening + text if opened else text
    for each in (opened, *(each for each in tags if each != opened)) if opened else tags:
        opening, closing = re.escape(each.opening), re.escape(each.closing)
        pieces = re.split(f"({opening}|{closing})", rest)
        kept = pieces[0]
        inside = False
        for tag, piece in zip(pieces[1::2], pieces[2::2], strict=True):
            if tag == each.closing:
                if not inside:
                    thoughts.append(kept)
                    kept = ""
                inside = False
            else:
                inside = True
            if inside:
                thoughts.append(piece)
            else:
                kept += piece
        closed = closed and not inside
        rest = kept
    return Thought("\n".join(filter(None, map(str.strip, thoughts))), rest.strip(), closed)


def without_thoughts(completion: Completion, tags: Sequence[Tags], opened: Tags | None = None) -> Completion:
    """The completion with the reply as its text and the thoughts in `thinking`.

    If a block is never closed, the text is empty and counts as cut off (`Finish.LENGTH`).
    """
    if opened is None and not any(tag in completion.text for each in tags for tag in each):
        return completion
    found = split_thoughts(completion.text, tags, opened)
    if found.closed:
        return replace(completion, text=found.reply, thinking=found.thoughts)
    finish = completion.finish if completion.finish is Finish.ERROR else Finish.LENGTH
    return replace(completion, text="", thinking=found.thoughts, finish=finish)
