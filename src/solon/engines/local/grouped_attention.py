"""Grouped-query attention on a CPU without copies of keys and values.

Several query heads share a key-value head. transformers repeats keys and values for each of them before it calls
torch's kernel, for every layer and pass. Here the queries of a group follow each other in one longer sequence instead,
so the kernel reads each key once for all of them and works on larger blocks. Each query sees the same keys in the same
order, so the numbers are the same. transformers does so itself for a single query, as in a step of generation.

The mask has to repeat its queries too. That is done once a pass, and only for masks of our own, so a model in training
is left as it is. A layer that turns out to be of another kind gets its part of the mask and transformers' own code.

Axes: B rows, H query heads, K key-value heads, G = H / K, T queries, L keys, D head width.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

Mask = Tensor | dict[str, Tensor] | None
"""An additive mask (B, 1, T, L), or one for each type of layer; None lets every query see what came before it."""

GROUPED = "solon_grouped"
_SDPA = "sdpa"
_TABLE = "ALL_ATTENTION_FUNCTIONS"
"""Where a model's module looks up its attention."""


class GroupedAttention:
    """Attention of one model; it stays transformers' own where grouping does not apply."""

    def __init__(self, model: Any, device: torch.device) -> None:
        base = getattr(model, "get_base_model", lambda: model)()
        self._config = base.config.get_text_config(decoder=True)
        self._groups = _groups(base, self._config) if device.type == "cpu" else 1
        if self._groups > 1:
            ALL_ATTENTION_FUNCTIONS.register(GROUPED, grouped_attention)

    @contextmanager
    def packed(self, mask: Mask, queries: int) -> Iterator[Mask]:
        """The mask for a pass of so many queries a row, which the model's layers understand within the block."""
        if self._groups == 1 or mask is None or queries == 1:
            yield mask
            return
        given = self._config._attn_implementation
        self._config._attn_implementation = GROUPED
        try:
            yield self._repeated(mask) if isinstance(mask, Tensor) else {k: self._repeated(m) for k, m in mask.items()}
        finally:
            self._config._attn_implementation = given

    def _repeated(self, mask_B1TL: Tensor) -> Tensor:
        return mask_B1TL.repeat(1, 1, self._groups, 1)


def grouped_attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, **given: Any
) -> tuple[Tensor, None]:
    """Attention (B, T, H, D) of queries (B, H, T, D) by a mask (B, 1, G T, L), as transformers calls it.

    `given` are transformers' further arguments; with those that need code of their own its function does the work.
    """
    rows, heads, queries, width = query.shape
    groups = heads // key.shape[1]
    special = any(given.get(name) is not None for name in ("position_bias", "cache", "softcap"))
    if attention_mask.shape[2] != groups * queries or given.get("dropout") or special:
        own = attention_mask[:, :, :queries]
        return sdpa_attention_forward(module, query, key, value, own, **given)
    packed = query.reshape(rows, key.shape[1], groups * queries, width)
    found = functional.scaled_dot_product_attention(packed, key, value, attention_mask, scale=given.get("scaling"))
    return found.reshape(rows, heads, queries, value.shape[-1]).transpose(1, 2).contiguous(), None


def _groups(model: Any, config: Any) -> int:
    """Query heads to a key-value head where the model takes its attention from transformers' table, else 1."""
    table = getattr(sys.modules[type(model).__module__], _TABLE, {})
    if config._attn_implementation != _SDPA or table.get(_SDPA) is not sdpa_attention_forward:
        return 1
    heads, shared = (getattr(config, name, None) for name in ("num_attention_heads", "num_key_value_heads"))
    return heads // shared if isinstance(heads, int) and isinstance(shared, int) and shared else 1
