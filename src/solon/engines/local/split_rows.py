"""Rows cut into the parts that the model reads apart: a shared prefix, a head in common with neighbours, the tail.

Axes: N rows, L columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from solon.engines.local.causal_model import PADDING
from solon.engines.token_rows import DecodingRow, Tokens


@dataclass(frozen=True, slots=True)
class SplitRow:
    """A tokenized prompt: `prefix` and `head` may be empty, `tail` holds at least one token."""

    prefix: Tokens
    head: Tokens
    tail: Tokens

    @classmethod
    def of(cls, row: DecodingRow, head: int = 0) -> SplitRow:
        """A row of which the first `head` own tokens are read apart."""
        return cls(row.prefix, row.own[:head], row.own[head:])

    def in_one(self) -> SplitRow:
        """The row with all its tokens in the tail, so that they are read together and fill neighbouring columns."""
        return SplitRow((), (), self.prefix + self.head + self.tail)

    @property
    def size(self) -> int:
        """Tokens in all."""
        return len(self.prefix) + len(self.head) + len(self.tail)


@dataclass(frozen=True, slots=True)
class Zones:
    """Widths of the zones of columns in which the parts of some rows lie, each part at the right edge of its zone."""

    prefix: int
    head: int
    tail: int

    @classmethod
    def of(cls, rows: Sequence[SplitRow]) -> Zones:
        """The zones of these rows."""
        zones = cls(0, 0, 0)
        for row in rows:
            zones = zones.widened(row)
        return zones

    def widened(self, row: SplitRow) -> Zones:
        """The zones with room for one more row."""
        return Zones(max(self.prefix, len(row.prefix)), max(self.head, len(row.head)), max(self.tail, len(row.tail)))

    @property
    def width(self) -> int:
        """Columns in all."""
        return self.prefix + self.head + self.tail

    def first(self, row: SplitRow) -> int:
        """The row's first column."""
        if row.prefix:
            return self.prefix - len(row.prefix)
        return self.prefix + (self.head - len(row.head) if row.head else self.head + self.tail - len(row.tail))

    def positions(self, rows: Sequence[SplitRow]) -> Tensor:
        """The position of the token in each column, `PADDING` where there is none; shape (N, L)."""
        key_NL = torch.full((len(rows), self.width), PADDING)
        for key_L, row in zip(key_NL, rows, strict=True):
            start, edge = 0, 0
            for part, zone in ((row.prefix, self.prefix), (row.head, self.head), (row.tail, self.tail)):
                edge += zone
                key_L[edge - len(part) : edge] = torch.arange(start, start + len(part))
                start += len(part)
        return key_NL
