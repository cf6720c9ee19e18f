"""Safe display of texts of models and data, and figures in words.

The template escapes HTML. `visible` writes out the characters that hide or reorder text, and this module cuts very long
texts with a note on the rest. So one hostile row cannot make the report unreadable or very large.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from solon.checks.hidden_characters import visible as visible

LIMIT = 3000
"""Maximum characters of a text in the report."""


def clip(text: str, limit: int = LIMIT) -> str:
    """The first `limit` characters, with a note of how many more there are."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]} … [{len(text) - limit:,} more characters in the table]"


def one_line(text: str, limit: int = 110) -> str:
    """The beginning of a text as a heading: white space folded, cut at a word where possible."""
    folded = " ".join(text[: limit * 4].split())
    if len(folded) <= limit:
        return folded
    cut = folded[:limit]
    return f"{cut.rsplit(' ', 1)[0] if ' ' in cut[limit // 2 :] else cut} …"


def duration(seconds: float) -> str:
    """A time as `4.2 s`, `3 min 20 s` or `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def against_chance(share: Mapping[str, Any], chance: float = 0.5) -> str:
    """What the interval supports: better than, worse than, or no better than chance."""
    if share["low"] > chance:
        return "better than chance"
    return "worse than chance" if share["high"] < chance else "no better than chance"


@dataclass(frozen=True, slots=True)
class TextPiece:
    """A piece of a revision, and whether its words are new in it."""

    words: str
    new: bool


def changes(before: str, after: str) -> list[TextPiece]:
    """`after` in stretches of kept and new words (their texts joined give `after`).

    A space between two new words counts as new, so that a new sentence is one stretch.
    """
    words = re.compile(r"\s+|\S+")
    old, new = words.findall(before), words.findall(after)
    is_new = [True] * len(new)
    for _, start, size in difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
        is_new[start : start + size] = [False] * size
    for index, word in enumerate(new):
        if word.isspace():
            is_new[index] = 0 < index < len(new) - 1 and is_new[index - 1] and is_new[index + 1]
    stretches = itertools.groupby(zip(new, is_new, strict=True), key=lambda pair: pair[1])
    return [TextPiece("".join(word for word, _ in stretch), kind) for kind, stretch in stretches]


def cases(figure: Mapping[str, Any]) -> str:
    """The number of cases of a figure, or of seeds when it is a mean over runs."""
    return f"{figure['n']} seeds" if "by_seed" in figure else f"{figure['n']}"
