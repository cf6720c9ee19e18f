"""Rows that are decoded together, and the layout of their cache.

Rows enter and leave while others are decoded. All write at one column, the present one, and every row ends there: the
columns of new rows are those before it, from right to left the tails, the heads and the shared prefixes, each
right-aligned in a zone of its own. Positions and masks are those of the tokens, so where a row began does not matter.
Each distinct prefix goes through the model once, by itself, and its keys are copied to every row that starts with it. A
head that several new rows have in common goes through once, and so do rows with the same tokens (many samples of one
prompt). Own tokens are prefilled in slices of a bounded number of padded tokens. Rows of a model that masks by columns
itself are tails only: they have no gaps, so columns are as far apart as positions.

Axes: B rows in flight, N new rows, T new tokens, L columns, V vocabulary.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from solon.engines.local.causal_model import PADDING, CausalModel
from solon.engines.local.common_heads import without_lone_heads
from solon.engines.local.grouped_attention import Mask
from solon.engines.local.kv_cache import CacheSize, Kept
from solon.engines.local.split_rows import SplitRow, Zones
from solon.engines.token_rows import Tokens

_PREFIX_BYTES = 256 << 20
_GROWTH = 64
"""The least number of spare columns to reserve; memory then follows the text written, not the token limit."""


class Prefixes:
    """Keys and values of shared prefixes, kept from call to call while the weights stay the same and memory allows."""

    def __init__(self, limit: int = _PREFIX_BYTES) -> None:
        self._limit = limit
        self._kept: OrderedDict[Tokens, Kept] = OrderedDict()
        self._bytes = 0
        self.computed = 0
        """Prefixes that went through the model so far."""

    def of(self, model: CausalModel, prefix: Tokens) -> Kept:
        """The prefix's keys and values, each (1, heads, tokens, width), per layer."""
        if prefix in self._kept:
            self._kept.move_to_end(prefix)
            return self._kept[prefix]
        cache = model.new_cache(CacheSize(1, len(prefix)))
        ids_1T = torch.tensor([prefix]).to(model.device, non_blocking=True)
        model.forward(ids_1T, torch.arange(len(prefix), device=model.device).unsqueeze(0), None, cache, 1)
        kept = cache.read()
        self.computed += 1
        self._kept[prefix] = kept
        self._bytes += _bytes(kept)
        while self._bytes > self._limit and len(self._kept) > 1:
            self._bytes -= _bytes(self._kept.popitem(last=False)[1])
        return kept

    def forget(self) -> None:
        """Drop everything; needed when the weights change."""
        self._kept.clear()
        self._bytes = 0


def _bytes(kept: Kept) -> int:
    return sum(part.numel() * part.element_size() for layer in kept for part in layer)


class Batch:
    """Rows in flight: the first `count` rows of a cache, the positions of their columns, each row's next position."""

    def __init__(self, model: CausalModel, prefixes: Prefixes) -> None:
        self.model = model
        self.count = 0
        self.cache = model.new_cache(CacheSize(0, 0))
        self._prefixes = prefixes
        self._room = CacheSize(0, 0)
        # A copy that does not block lets the host go on while a GPU still works on the step before.
        self._key_BL = torch.empty(0, 0, dtype=torch.long).to(model.device, non_blocking=True)
        self._next_B = torch.empty(0, dtype=torch.long).to(model.device, non_blocking=True)
        self._start_B = np.empty(0, dtype=np.int64)
        """The first column of each row; of one that ended, a column that is never reached."""
        self._gaps_B = np.empty(0, dtype=np.bool_)
        self._held: dict[int, tuple[Tokens, int]] = {}
        """By row of the cache, the prefix that it holds and the column where this ends."""
        self._step_mask: Tensor | None = None

    @property
    def width(self) -> int:
        """Columns that the next step sees, without its own."""
        return self.cache.start - self.cache.first

    def clear(self) -> None:
        """Drop all rows; the memory stays, and so do the prefixes in it."""
        self.count = 0
        self._next_B, self._start_B, self._gaps_B = self._next_B[:0], self._start_B[:0], self._gaps_B[:0]

    def admit(self, rows: Sequence[SplitRow], room: CacheSize, keep: int = 1) -> Tensor:
        """Prefill rows behind those in flight; logits (N, keep, V) of each new row's last `keep` positions.

        The cache may get as many rows and columns as `room` says, until rows are admitted again. A row whose tail is
        shorter than `keep` gets logits for its tail only.
        """
        rows = [row.in_one() for row in rows] if self.model.by_columns else without_lone_heads(rows)
        numbers = {row: number for number, row in enumerate(dict.fromkeys(rows))}
        distinct = list(numbers)
        zones = Zones.of(distinct)
        self._make_room(len(rows), zones.width, room)
        first, end, base = self.cache.start - zones.width, self.cache.start, self.count
        self._read_heads(distinct, zones, first)
        self._write_prefixes([row.prefix for row in distinct], first + zones.prefix)
        key_NL = zones.positions(distinct).to(self.model.device, non_blocking=True)
        self.cache.first = first
        logits_NKV = self._read([row.tail for row in distinct], key_NL, end, keep)
        if len(distinct) < len(rows):
            source = [numbers[row] for row in rows]
            source_N = torch.tensor(source).to(self.model.device, non_blocking=True)
            self.cache.copy_rows(source_N + base, slice(base, base + len(rows)), slice(first, end))
            held = [self._held[base + number] for number in source]
            self._held.update(enumerate(held, base))
            key_NL, logits_NKV = key_NL[source_N], logits_NKV[source_N]
        self._key_BL[base : base + len(rows)] = PADDING
        self._key_BL[base : base + len(rows), first:end] = key_NL
        sizes_N = torch.tensor([row.size for row in rows]).to(self.model.device, non_blocking=True)
        self._next_B = torch.cat([self._next_B, sizes_N])
        starts = np.array([first + zones.first(row) for row in rows], dtype=np.int64)
        self._start_B = np.concatenate([self._start_B, starts])
        self._gaps_B = np.concatenate([self._gaps_B, starts + [row.size for row in rows] != end])
        self.count += len(rows)
        self._step_mask = None
        self._look()
        return logits_NKV

    def step(self, token_B: Tensor) -> Tensor:
        """Append one token to every row; logits (B, V) for the next one."""
        self._held.clear()
        if self.cache.start == self.cache.size.columns:
            self._lay(self.width, 1)
        column = self.cache.start
        self.cache.part = slice(0, self.count)
        query_B1 = self._next_B.unsqueeze(-1)
        self._key_BL[: self.count, column] = self._next_B
        mask = self._mask_of_step(query_B1)
        logits_B1V = self.model.forward(token_B.unsqueeze(-1), query_B1, mask, self.cache, 1)
        self.cache.start = column + 1
        # A finished row that is not dropped yet must not exceed the table of positions.
        self._next_B = (self._next_B + 1).clamp_(max=self.model.window - 1)
        return logits_B1V[:, 0]

    def retire(self, places: Sequence[int]) -> None:
        """Rows at these places have ended: nobody reads their columns any more, though they stay until `keep`."""
        self._start_B[list(places)] = np.iinfo(np.int64).max
        self._look()

    def keep(self, places: NDArray[np.int64]) -> None:
        """Keep the rows at these places, in this order; those that are where they shall be are not touched."""
        self._held.clear()
        order_B = torch.from_numpy(places).to(self.model.device, non_blocking=True)
        moved = np.flatnonzero(places != np.arange(len(places)))
        seen = slice(self.cache.first, self.cache.start)
        if len(moved):
            target = torch.from_numpy(moved).to(self.model.device, non_blocking=True)
            self.cache.copy_rows(order_B[target], target, seen)
        # Whole rows: a wide row that is admitted later makes columns visible that nobody sees now.
        self._key_BL[: len(places)] = self._key_BL.index_select(0, order_B)
        self._next_B = self._next_B.index_select(0, order_B)
        self._start_B, self._gaps_B = self._start_B[places], self._gaps_B[places]
        self.count = len(places)
        self._step_mask = None
        self._look()

    def _look(self) -> None:
        """Look at no column before the first of an open row."""
        opened = self._start_B[self._start_B < np.iinfo(np.int64).max]
        self.cache.first = int(opened.min()) if len(opened) else self.cache.start
        self._padded = bool((opened > self.cache.first).any() or self._gaps_B.any())

    def _make_room(self, count: int, width: int, room: CacheSize) -> None:
        """See to rows for `count` more, and to `width` columns before the present one."""
        self._room = CacheSize(max(room.rows, self.count + count), room.columns)
        fits = self.count + count <= self.cache.size.rows
        if self.count == 0:
            self.cache.first = self.cache.start = 0
            if fits and width <= self.cache.size.columns:
                self.cache.start = width
                return
        if not fits or width > self.cache.start:
            self._lay(max(self.width, width), 0)

    def _lay(self, start: int, spare: int) -> None:
        """Reserve memory in which the present column is `start`, and at least `spare` columns more."""
        columns = min(self._room.columns, max(start + _GROWTH, start * 3 // 2))
        size = CacheSize(self._room.rows, max(columns, start + spare))
        seen, moved = slice(self.cache.first, self.cache.start), start - self.cache.start
        self.cache.lay(size, self.count, start)
        key_BL = torch.full((size.rows, size.columns), PADDING).to(self.model.device, non_blocking=True)
        key_BL[: self.count, self.cache.first : start] = self._key_BL[: self.count, seen]
        self._key_BL = key_BL
        self._start_B = np.where(self._start_B < np.iinfo(np.int64).max, self._start_B + moved, self._start_B)
        self._held.clear()
        self._step_mask = None

    def _read_heads(self, rows: Sequence[SplitRow], zones: Zones, first: int) -> None:
        """Run every distinct head once, and copy it to the rows that start with it."""
        if not zones.head:
            return
        distinct = dict.fromkeys((row.prefix, row.head) for row in rows if row.head)
        heads = {key: number for number, key in enumerate(distinct)}
        alone = [SplitRow(prefix, head, ()) for prefix, head in heads]
        edge = first + zones.prefix + zones.head
        self._write_prefixes([row.prefix for row in alone], first + zones.prefix)
        key_NL = Zones(zones.prefix, zones.head, 0).positions(alone).to(self.model.device, non_blocking=True)
        start, self.cache.first = self.cache.start, first
        self._read([row.head for row in alone], key_NL, edge, 1)
        self.cache.start = start
        source = [heads.get((row.prefix, row.head), number) + self.count for number, row in enumerate(rows)]
        source_N = torch.tensor(source).to(self.model.device, non_blocking=True)
        zone = slice(first + zones.prefix, edge)
        self.cache.copy_rows(source_N, slice(self.count, self.count + len(rows)), zone)

    def _write_prefixes(self, prefixes: Sequence[Tokens], end: int) -> None:
        """Copy the prefixes of new rows in front of column `end`, where they do not stand already.

        Neighbours with one prefix get it in one write for each layer, since a GPU takes as long to write one row.
        """
        missing = [
            number for number, prefix in enumerate(prefixes) if self._held.get(self.count + number) != (prefix, end)
        ]
        runs = itertools.groupby(enumerate(missing), key=lambda each: (each[1] - each[0], prefixes[each[1]]))
        for (_, prefix), run in runs:
            numbers = [number for _, number in run]
            rows = slice(self.count + numbers[0], self.count + numbers[-1] + 1)
            if prefix:
                self.cache.write(self._prefixes.of(self.model, prefix), rows, end)
            self._held.update((self.count + number, (prefix, end)) for number in numbers)

    def _read(self, parts: Sequence[Tokens], key_NL: Tensor, end: int, keep: int) -> Tensor:
        """Run tokens of new rows that end before column `end`; logits (N, keep, V) of each row's last positions."""
        logits = []
        for part, width in _slices([len(each) for each in parts], self.model.prefill_tokens):
            self.cache.part = slice(self.count + part.start, self.count + part.stop)
            self.cache.start = end - width
            logits.append(self._read_slice(parts[part], width, key_NL[part], min(keep, width)))
        self.cache.start = end
        if len(logits) == 1:
            return logits[0]
        # A slice narrower than `keep` has fewer positions; they are aligned at the right like everything else.
        kept = max(part.shape[1] for part in logits)
        return torch.cat([torch.nn.functional.pad(part, (0, 0, kept - part.shape[1], 0)) for part in logits])

    def _read_slice(self, parts: Sequence[Tokens], width: int, key_NL: Tensor, keep: int) -> Tensor:
        ids_NT = torch.tensor([(0,) * (width - len(part)) + part for part in parts])
        query_NT = key_NL[:, key_NL.shape[1] - width :]
        # Padding gets position 0: it sees at least one key, so that no softmax is over nothing.
        query_NT = torch.where(query_NT == PADDING, 0, query_NT)
        plain = self.cache.start == self.cache.first and all(len(part) == width for part in parts)
        mask = None if plain else self.model.mask(query_NT, key_NL)
        ids_NT = ids_NT.to(self.model.device, non_blocking=True)
        return self.model.forward(ids_NT, query_NT, mask, self.cache, keep)

    def _mask_of_step(self, query_B1: Tensor) -> Mask:
        seen = slice(self.cache.first, self.cache.start + 1)
        if self.model.slides:
            return self.model.mask(query_B1, self._key_BL[: self.count, seen])
        if not self._padded:
            return None
        if self._step_mask is None:
            # Only the padding of prompts is hidden, and every generated token is visible: one mask for many steps.
            hidden_BL = self._key_BL[: self.count] == PADDING
            hidden_BL[:, self.cache.start :] = False
            whole = self.model.mask(torch.zeros_like(query_B1), torch.where(hidden_BL, PADDING, 0))
            assert isinstance(whole, Tensor)
            self._step_mask = whole
        return self._step_mask[..., seen]


def _slices(lengths: Sequence[int], most: int) -> Iterator[tuple[slice, int]]:
    """Neighbouring rows of at most so many padded tokens together, and their width."""
    start = 0
    while start < len(lengths):
        end, width = start + 1, lengths[start]
        while end < len(lengths) and max(width, lengths[end]) * (end + 1 - start) <= most:
            width, end = max(width, lengths[end]), end + 1
        yield slice(start, end), width
        start = end
