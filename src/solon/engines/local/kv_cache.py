"""The key-value cache: allocated once, written in place, the same for all models.

transformers' own cache concatenates all keys and values at every step. This one reserves columns ahead and returns
views. Every row of a batch writes at the same column, because rows are aligned at their right edge; columns that
a row does not use are hidden by the attention mask, which belongs to `batch.py`. A cache can be narrowed to some of its
rows while they are prefilled, and its rows can be selected: to drop finished rows, or to let many samples of one prompt
start from one prefill.

Axes: B rows, K key-value heads, T time (columns), D head width.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

_GROWTH = 64
"""The least number of spare columns to reserve; memory then follows the text written, not the token limit."""


class PreallocatedLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, shape (B, K, columns, D), of which the first `filled` columns are written."""

    is_sliding = False

    def __init__(self, owner: KeyValueCache) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # Weak: a circle would keep gigabytes until Python's next full collection, which a GPU cannot wait for.
        self.owner: KeyValueCache = weakref.proxy(owner)
        self.filled = 0
        self.keys: Tensor = torch.empty(0)
        self.values: Tensor = torch.empty(0)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Reserve memory on the device of the first keys; zeros, since masked columns must hold no NaN."""
        rows = key_states.shape[0] if self.owner.rows is None else self.owner.rows
        columns = min(self.owner.limit, self.owner.start + key_states.shape[2] + _GROWTH)
        dtype = self.owner.dtype
        self.keys = key_states.new_zeros(rows, key_states.shape[1], columns, key_states.shape[3], dtype=dtype)
        self.values = value_states.new_zeros(rows, value_states.shape[1], columns, value_states.shape[3], dtype=dtype)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write (B, K, T, D) at the owner's column; views of all columns up to there, for the owner's rows."""
        start = self.owner.start
        end = start + key_states.shape[2]
        self._reserve(key_states, value_states, end)
        keys, values = self.keys, self.values
        if self.owner.part is not None:
            keys, values = keys[self.owner.part], values[self.owner.part]
        keys[:, :, start:end] = key_states
        values[:, :, start:end] = value_states
        self.filled = max(self.filled, end)
        return keys[:, :, :end], values[:, :, :end]

    def write(self, keys: Tensor, values: Tensor, rows: slice, end: int) -> None:
        """Put earlier keys and values (1, K, T, D) into each of these rows so that they end before column `end`."""
        self._reserve(keys, values, end)
        self.keys[rows, :, end - keys.shape[2] : end] = keys
        self.values[rows, :, end - keys.shape[2] : end] = values
        self.filled = max(self.filled, end)

    def _reserve(self, keys: Tensor, values: Tensor, end: int) -> None:
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        if end > self.keys.shape[2]:
            columns = min(self.owner.limit, max(end + _GROWTH, end * 3 // 2))
            self.keys = _moved(self.keys, self.filled, columns)
            self.values = _moved(self.values, self.filled, columns)

    def select(self, rows: Tensor) -> None:
        """Keep or repeat rows."""
        rows = rows.to(self.keys.device)  # layers may lie on several devices
        self.keys = self.keys.index_select(0, rows)
        self.values = self.values.index_select(0, rows)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns and offset, as transformers asks when it makes a mask itself."""
        return self.owner.start + query_length, 0

    def get_seq_length(self) -> int:
        """Columns written before this forward pass."""
        return self.owner.start

    def get_max_length(self) -> int:
        """The most columns that this cache will hold."""
        return self.owner.limit


class KeyValueCache(Cache):
    """All layers' keys and values; pass it to a model as `past_key_values`.

    `start` is the column at which the next forward pass writes; the caller moves it. `part`, when given, is the slice
    of rows that the next forward pass is about. `dtype` is the type to keep; by default that of keys and values.
    """

    def __init__(self, layers: int, *, limit: int, rows: int | None = None, dtype: torch.dtype | None = None) -> None:
        self.limit = limit
        self.dtype = dtype
        self.rows = rows
        self.start = 0
        self.part: slice | None = None
        self.slabs = [PreallocatedLayer(self) for _ in range(layers)]
        super().__init__(layers=list(self.slabs))

    def select(self, rows: Tensor) -> None:
        """Keep or repeat rows, in every layer."""
        for layer in self.slabs:
            layer.select(rows)
        self.rows = len(rows)

    @property
    def bytes(self) -> int:
        """Memory reserved for keys and values now."""
        return sum(slab.keys.nbytes + slab.values.nbytes for slab in self.slabs)

    def read(self) -> list[tuple[Tensor, Tensor]]:
        """Copies of the written columns, per layer: keys and values (B, K, filled, D)."""
        return [
            (layer.keys[:, :, : layer.filled].clone(), layer.values[:, :, : layer.filled].clone())
            for layer in self.slabs
        ]

    def write(self, kept: list[tuple[Tensor, Tensor]], rows: slice, end: int) -> None:
        """Put earlier keys and values (1, K, T, D) into each of these rows so that they end before column `end`."""
        for layer, (keys, values) in zip(self.slabs, kept, strict=True):
            layer.write(keys, values, rows, end)


def _moved(old: Tensor, filled: int, columns: int) -> Tensor:
    new = old.new_zeros(old.shape[0], old.shape[1], columns, old.shape[3])
    new[:, :, :filled] = old[:, :, :filled]
    return new


def additive_mask(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where attended, the least finite number where `hidden`; every attention kernel accepts this form."""
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, torch.finfo(dtype).min)
