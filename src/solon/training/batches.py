"""From tokenized examples to padded tensors, with as little padding as the lengths allow.

An epoch's order is a shuffle that depends only on (seed, epoch), so a resumed run has the same batches. Each batch
of the optimiser is a random sample; within it rows are sorted by length and packed into micro-batches. Packing across
batches would make batches of equal lengths, and length says too much about the content of a reply. Rows are padded on
the right: under a causal mask no token sees what follows it, so no attention mask is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from solon.digest import seed_for

T = TypeVar("T")

PAD_ID = 0
"""What sequences are padded with; any token id works, since nothing reads padding on the right."""

PASS_COST, SMALL, LEAST_PASS_COST = 512, 2.5e6, 48
"""Padding tokens that cost about as much as one more forward and backward pass of a model with so many parameters, and
the least for any model. Measured on two CPU cores, and for the least on one, with six layers of SmolLM2's width: 12 to
50 tokens, since a pass then takes little more than reading and writing the weights."""


def pass_cost(parameters: int) -> int:
    """Padding tokens that cost about as much as one more pass of a model of this size."""
    return max(LEAST_PASS_COST, round(PASS_COST * min(1.0, SMALL / parameters)))


@dataclass(frozen=True, slots=True)
class CompletionExample:
    """A prompt with its completion and end token; only tokens from `start` on carry loss."""

    row_id: str
    token_ids: tuple[int, ...]
    start: int

    @property
    def length(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.token_ids)

    @property
    def tokens(self) -> int:
        """Tokens read in a pass; equals `length`, as there is one sequence."""
        return len(self.token_ids)


@dataclass(frozen=True, slots=True)
class PairExample:
    """Two replies to one prompt, each a whole conversation ended by the end token, with a soft label and a weight."""

    row_id: str
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    p_chosen: float
    weight: float
    source: str

    @property
    def length(self) -> int:
        """Tokens of the longer side."""
        return max(len(self.chosen), len(self.rejected))

    @property
    def tokens(self) -> int:
        """Tokens of both sides, as they are read."""
        return len(self.chosen) + len(self.rejected)


@dataclass(frozen=True, slots=True)
class RatedExample:
    """A whole conversation ended by the end token, and the number that its score is to have."""

    row_id: str
    token_ids: tuple[int, ...]
    target: float

    @property
    def length(self) -> int:
        """Tokens of the conversation."""
        return len(self.token_ids)

    @property
    def tokens(self) -> int:
        """Tokens read in a pass; equals `length`, as there is one sequence."""
        return len(self.token_ids)


def shuffled(size: int, *parts: object) -> list[int]:
    """A permutation of range(size) that depends only on `parts` (run seed, stage, epoch ...)."""
    generator = torch.Generator().manual_seed(seed_for(*parts))
    order: list[int] = torch.randperm(size, generator=generator).tolist()
    return order


class Orders:
    """Caches the last few permutations of `shuffled`."""

    def __init__(self, kept: int = 4) -> None:
        self._kept = kept
        self._known: dict[tuple[object, ...], list[int]] = {}

    def of(self, size: int, *parts: Hashable) -> Sequence[int]:
        """The permutation of range(size) that depends only on `parts`."""
        key = (size, *parts)
        if key not in self._known:
            while len(self._known) >= self._kept:
                del self._known[next(iter(self._known))]
            self._known[key] = shuffled(size, *parts)
        return self._known[key]


def batch_at(step: int, size: int, batch: int, seed: int, orders: Orders | None = None) -> list[int]:
    """Which of `size` examples make up the optimiser's batch number `step` (from 0); epochs follow each other.

    A loop over many steps gives `orders`, so that each epoch is shuffled once.
    """
    per_epoch = steps_per_epoch(size, batch)
    epoch, position = divmod(step, per_epoch)
    order = (orders or Orders()).of(size, seed, "epoch", epoch)
    return list(order[position * batch : (position + 1) * batch])


def steps_per_epoch(size: int, batch: int) -> int:
    """Optimiser steps that one pass over `size` examples takes; the last batch may be smaller."""
    return math.ceil(size / batch)


def micro_batches(
    rows: Sequence[T], length: Callable[[T], int], micro_tokens: int, *, width: int = 1, cost: int = PASS_COST
) -> Iterator[list[T]]:
    """Pack rows, longest first, into micro-batches of at most `micro_tokens` padded tokens.

    A micro-batch also ends once its padding would cost more than another pass, which costs as much as `cost` tokens.
    `width` is the number of sequences that one row holds (2 for a pair). A single row that is longer than
    `micro_tokens` still gets its own micro-batch.
    """
    packed: list[T] = []
    longest = padding = 0
    for row in sorted(rows, key=length, reverse=True):
        tokens = length(row)
        padding += (longest - tokens) * width if packed else 0
        if packed and ((len(packed) + 1) * longest * width > micro_tokens or padding > cost):
            yield packed
            packed, padding = [], 0
        if not packed:
            longest = tokens
        packed.append(row)
    if packed:
        yield packed


def pad_right(sequences: Sequence[Sequence[int]], fill: int, device: torch.device | str = "cpu") -> Tensor:
    """Token ids of unequal length as one tensor (B, T), filled on the right."""
    rows = [torch.tensor(sequence, dtype=torch.long) for sequence in sequences]
    return to_device(pad_sequence(rows, batch_first=True, padding_value=fill), device)


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor of the CPU on `device`; the host does not wait until the GPU has done what it was given before."""
    return tensor.to(device, non_blocking=True)


def gather_masked(ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """The masked token ids, shape (N); with a mask on the CPU the host does not wait for a GPU."""
    return ids_BT.flatten().index_select(0, to_device(mask_BT.flatten().nonzero().squeeze(1), ids_BT.device))


def span_mask(starts: Sequence[int], ends: Sequence[int], longest: int) -> Tensor:
    """True at positions start <= t < end of each row, shape (B, longest), on the CPU."""
    positions_1T = torch.arange(longest).unsqueeze(0)
    starts_B1 = torch.tensor(starts).unsqueeze(1)
    ends_B1 = torch.tensor(ends).unsqueeze(1)
    return (positions_1T >= starts_B1) & (positions_1T < ends_B1)
