"""The key-value cache: memory that is reserved ahead and written in place, the same for all models.

transformers' own cache concatenates all keys and values at every step. This one reserves rows and columns and returns
views. Every row writes at the same column, because rows are aligned at their right edge; columns that a row does not
use are hidden by the attention mask, which belongs to `batch.py`. Columns before `first` are not looked at any more:
when the reserved ones are used up, `lay` moves what is left to the front. A forward pass may be about some of the rows,
so that new rows are written beside those in flight. Rows can be copied over others: to fill the place of a finished
row, or to let many rows start from one. A layer that reads another layer's keys, as some of Gemma
3n and Gemma 4 do, never fills its own part of the cache, which stays empty.

Axes: B rows, K key-value heads, T time (columns), D head width.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

Kept = list[tuple[Tensor, Tensor]]
"""Keys and values of some tokens, each (1, K, T, D), per layer; both empty for a layer without its own."""


@dataclass(frozen=True, slots=True)
class CacheSize:
    """Rows and columns of a cache."""

    rows: int
    columns: int


class PreallocatedLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, shape (B, K, columns, D)."""

    is_sliding = False

    def __init__(self, owner: KeyValueCache) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # Weak: a circle would keep gigabytes until Python's next full collection, which a GPU cannot wait for.
        self.owner: KeyValueCache = weakref.proxy(owner)
        self.keys: Tensor = torch.empty(0)
        self.values: Tensor = torch.empty(0)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Reserve memory on the device of the first keys."""
        self.keys, self.values = (
            _reserved(each, self.owner.size, self.owner.dtype) for each in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write (B, K, T, D) at the owner's column; views of the visible columns up to there, of the owner's rows."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, end = self.owner.start, self.owner.start + key_states.shape[2]
        keys, values = self.keys[self.owner.part], self.values[self.owner.part]
        keys[:, :, start:end] = key_states
        values[:, :, start:end] = value_states
        return keys[:, :, self.owner.first : end], values[:, :, self.owner.first : end]

    def write(self, keys: Tensor, values: Tensor, rows: slice, end: int) -> None:
        """Put earlier keys and values (1, K, T, D) into each of these rows so that they end before column `end`."""
        if not keys.numel():  # the layer keeps no keys of its own
            return
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self.keys[rows, :, end - keys.shape[2] : end] = keys
        self.values[rows, :, end - values.shape[2] : end] = values

    def lay(self, rows: int, columns: slice, start: int) -> None:
        """Reserve anew, with these rows and columns ending before column `start`."""
        if self.is_initialized:
            self.keys, self.values = (
                _laid(each, self.owner.size, rows, columns, start) for each in (self.keys, self.values)
            )

    def copy_rows(self, source: Tensor, rows: slice | Tensor, columns: slice) -> None:
        """Write these columns of the rows `source` over those of `rows`."""
        if not self.is_initialized:
            return
        source = source.to(self.keys.device, non_blocking=True)  # layers may lie on several devices
        for whole in (self.keys, self.values):
            part = whole[:, :, columns]
            if isinstance(rows, slice):
                part[rows] = part.index_select(0, source)
            else:
                part.index_copy_(0, rows.to(whole.device, non_blocking=True), part.index_select(0, source))

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns and offset, as transformers asks when it makes a mask itself."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Visible columns written before this forward pass."""
        return self.owner.start - self.owner.first

    def get_max_length(self) -> int:
        """The most columns that this cache holds now."""
        return self.owner.size.columns


class KeyValueCache(Cache):
    """All layers' keys and values; pass it to a model as `past_key_values`.

    `first` is the first column that the next forward pass sees, `start` the one at which it writes, and `part` the
    slice of rows that it is about; the caller moves them. `dtype` is the type to keep; by default that of keys and
    values.
    """

    def __init__(self, layers: int, size: CacheSize, dtype: torch.dtype | None = None) -> None:
        self.size = size
        self.dtype = dtype
        self.first = 0
        self.start = 0
        self.part = slice(0, size.rows)
        self.slabs = [PreallocatedLayer(self) for _ in range(layers)]
        super().__init__(layers=list(self.slabs))

    def lay(self, size: CacheSize, rows: int, start: int) -> None:
        """Reserve `size`, and keep the visible columns of the first `rows` rows, which then end before `start`.

        One layer after the other, so that only one is in memory twice.
        """
        columns = slice(self.first, self.start)
        self.size = size
        for layer in self.slabs:
            layer.lay(rows, columns, start)
        self.first, self.start = start - (columns.stop - columns.start), start

    def copy_rows(self, source: Tensor, rows: slice | Tensor, columns: slice) -> None:
        """Write these columns of the rows `source` over those of `rows`, in every layer."""
        for layer in self.slabs:
            layer.copy_rows(source, rows, columns)

    @property
    def bytes(self) -> int:
        """Memory reserved for keys and values now."""
        return sum(slab.keys.nbytes + slab.values.nbytes for slab in self.slabs)

    def read(self) -> Kept:
        """Keys and values of all columns, per layer; no copies."""
        return [(layer.keys, layer.values) for layer in self.slabs]

    def write(self, kept: Kept, rows: slice, end: int) -> None:
        """Put earlier keys and values into each of these rows so that they end before column `end`."""
        for layer, (keys, values) in zip(self.slabs, kept, strict=True):
            layer.write(keys, values, rows, end)


def _reserved(like: Tensor, size: CacheSize, dtype: torch.dtype | None = None) -> Tensor:
    """Zeros, since masked columns must hold no NaN."""
    return like.new_zeros(size.rows, like.shape[1], size.columns, like.shape[3], dtype=dtype)


def _laid(old: Tensor, size: CacheSize, rows: int, columns: slice, start: int) -> Tensor:
    new = _reserved(old, size)
    new[:rows, :, start - (columns.stop - columns.start) : start] = old[:rows, :, columns]
    return new


def additive_mask(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where attended, the least finite number where `hidden`; every attention kernel accepts this form."""
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, torch.finfo(dtype).min)
