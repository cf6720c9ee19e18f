"""A batch of rows that are decoded together, and the layout of its cache.

Layout of the columns: the shared prefixes, right-aligned in a zone of their own; the rows' own tokens, right-aligned;
the generated tokens, at the same column for every row. Each distinct prefix goes through the model once, by itself,
and its keys are copied to every row that starts with it. Rows with the same tokens (many samples of one prompt) go
through once and are repeated afterwards. Own tokens are prefilled in slices of a bounded number of padded tokens.

Axes: B rows, U distinct rows, T new tokens, L columns, V vocabulary.
"""

from __future__ import annotations

import bisect
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from solon.engines.local.causal_model import PADDING, CausalModel, Mask
from solon.engines.local.kv_cache import KeyValueCache
from solon.engines.token_rows import DecodingRow, Tokens

_PREFIX_BYTES = 256 << 20

Kept = list[tuple[Tensor, Tensor]]


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
        cache = model.new_cache(limit=len(prefix))
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
    """Rows in flight: the cache, the positions of its columns, and each row's next position."""

    def __init__(self, model: CausalModel, rows: Sequence[DecodingRow], limit: int) -> None:
        """Lay out columns for `rows` and up to `limit` further tokens."""
        self.model = model
        self.rows = rows
        self.prefix_width = max(len(row.prefix) for row in rows)
        self.own_width = max(len(row.own) for row in rows)
        self.width = self.prefix_width + self.own_width
        self.cache: KeyValueCache = model.new_cache(limit=self.width + limit, rows=len(rows))
        # A copy that does not block lets the host go on while a GPU still works on the batch before this one.
        self.next_B = torch.tensor([row.size for row in rows]).to(model.device, non_blocking=True)
        self._padded = any(row.size != self.width for row in rows)
        self._limit = self.width + limit
        key_BL = torch.full((len(rows), self._limit), PADDING)
        for number, row in enumerate(rows):
            prefix = len(row.prefix)
            key_BL[number, self.prefix_width - prefix : self.prefix_width] = torch.arange(prefix)
            key_BL[number, self.width - len(row.own) : self.width] = torch.arange(prefix, row.size)
        self.key_BL = key_BL.to(model.device, non_blocking=True)
        self._step_mask: Tensor | None = None

    def prefill(self, prefixes: Prefixes, keep: int = 1) -> Tensor:
        """Run the prompts; logits (B, keep, V) of each row's last `keep` positions."""
        # Neighbours with one prefix get it in one write for each layer, since a GPU takes as long to write one row.
        start = 0
        for prefix, alike in itertools.groupby(row.prefix for row in self.rows):
            end = start + len(list(alike))
            if prefix:
                self.cache.write(prefixes.of(self.model, prefix), slice(start, end), self.prefix_width)
            start = end
        logits = []
        start = 0
        while start < len(self.rows):
            end, width = self._slice_from(start)
            logits.append(self._prefill_slice(slice(start, end), width, min(keep, width)))
            start = end
        self.cache.part = None
        self.cache.start = self.width
        if len(logits) == 1:
            return logits[0]
        # A slice narrower than `keep` has fewer positions; they are aligned at the right like everything else.
        kept = max(part.shape[1] for part in logits)
        return torch.cat([torch.nn.functional.pad(part, (0, 0, kept - part.shape[1], 0)) for part in logits])

    def _slice_from(self, start: int) -> tuple[int, int]:
        """The end of the slice of rows that begins at `start`, and the width of its own parts."""
        width = len(self.rows[start].own)
        end = start + 1
        while end < len(self.rows):
            wider = max(width, len(self.rows[end].own))
            if wider * (end + 1 - start) > self.model.prefill_tokens:
                break
            end, width = end + 1, wider
        return end, width

    def _prefill_slice(self, part: slice, width: int, keep: int) -> Tensor:
        rows = self.rows[part]
        device = self.model.device
        ids_BT = torch.tensor([(0,) * (width - len(row.own)) + row.own for row in rows]).to(device, non_blocking=True)
        column = self.width - width
        key_BL = self.key_BL[part, : self.width]
        query_BT = key_BL[:, column:]
        # Padding gets position 0: it sees at least one key, so that no softmax is over nothing.
        query_BT = torch.where(query_BT == PADDING, 0, query_BT)
        plain = column == 0 and all(len(row.own) == width for row in rows)
        mask = None if plain else self.model.mask(query_BT, key_BL)
        self.cache.part = None if len(rows) == len(self.rows) else part
        self.cache.start = column
        return self.model.forward(ids_BT, query_BT, mask, self.cache, keep)

    def step(self, token_B: Tensor) -> Tensor:
        """Append one token to every row; logits (B, V) for the next one."""
        column = self.cache.start
        query_B1 = self.next_B.unsqueeze(-1)
        self.key_BL[:, column] = self.next_B
        logits_B1V = self.model.forward(
            token_B.unsqueeze(-1), query_B1, self._mask_of_step(query_B1, column + 1), self.cache, 1
        )
        self.cache.start = column + 1
        # A finished row that is not dropped yet must not exceed the table of positions.
        self.next_B = (self.next_B + 1).clamp_(max=self.model.window - 1)
        return logits_B1V[:, 0]

    def _mask_of_step(self, query_B1: Tensor, columns: int) -> Mask:
        if self.model.slides:
            return self.model.mask(query_B1, self.key_BL[:, :columns])
        if not self._padded:
            return None
        if self._step_mask is None:
            # Only the padding of the prompt is hidden, and every generated token is visible: one mask for all steps.
            hidden_BL = self.key_BL == PADDING
            hidden_BL[:, columns - 1 :] = False
            whole = self.model.mask(torch.zeros_like(query_B1), torch.where(hidden_BL, PADDING, 0))
            assert isinstance(whole, Tensor)
            self._step_mask = whole
        return self._step_mask[..., :columns]

    def select(self, rows_B: Tensor) -> None:
        """Keep or repeat rows, by their present numbers."""
        self.cache.select(rows_B)
        self.key_BL = self.key_BL.index_select(0, rows_B)
        self.next_B = self.next_B.index_select(0, rows_B)
        if self._step_mask is not None:
            self._step_mask = self._step_mask.index_select(0, rows_B)


Share = Callable[[Sequence[int]], float]
"""The fraction of the memory that the rows of these numbers need together."""


def sub_batches(rows: Sequence[DecodingRow], size: int, share: Share = lambda numbers: 0.0) -> list[list[int]]:
    """Row numbers in sub-batches of at most `size`, evenly filled, sorted by length and content.

    A sub-batch with a `share` above 1 is split further, unless it is a single row.
    """
    order = sorted(
        range(len(rows)),
        key=lambda number: (len(rows[number].prefix), len(rows[number].own), rows[number].prefix, rows[number].own),
    )
    count = -(-len(order) // size)
    edges = [len(order) * part // count for part in range(count + 1)] if count else [0]
    return [part for start, end in itertools.pairwise(edges) for part in _within(order[start:end], share)]


def _within(numbers: list[int], share: Share) -> Iterator[list[int]]:
    """As many rows at a time as fit; the share grows with every row."""
    while numbers:
        fitting = bisect.bisect_right(range(1, len(numbers) + 1), 1.0, key=lambda count: share(numbers[:count]))
        yield numbers[: max(1, fitting)]
        numbers = numbers[max(1, fitting) :]
