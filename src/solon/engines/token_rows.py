"""A tokenized prompt, and how many leading items two sequences share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DecodingRow:
    """A tokenized prompt: `prefix` is shared with other rows and may be empty, `own` holds at least one token."""

    prefix: Tokens
    own: Tokens

    @property
    def size(self) -> int:
        """Tokens in all."""
        return len(self.prefix) + len(self.own)


def common_length(one: Sequence[object], other: Sequence[object]) -> int:
    """How many leading tokens, or characters, two sequences share."""
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))
