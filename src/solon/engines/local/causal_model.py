"""One forward pass of a causal model over rows that may be padded on the left.

`CausalModel` calls any transformers causal language model through its own `forward`, with our cache, our positions and
our masks, so that left padding, a shared prefix and dropped rows cannot change what a row sees. A key is visible to a
query when its position is not greater (and, for sliding layers, not too far back); padding has a position that no query
reaches. A model in half precision gives float32 logits (see `head.py`). A model in training is asked with the
arithmetic of its training.

Axes: B rows, T new tokens, L cache columns, N positions with logits, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from solon.config.recipe import Precision
from solon.engines.local.float32_products import by_onednn, large_layers, slow_by_default
from solon.engines.local.grouped_attention import GroupedAttention, Mask
from solon.engines.local.head import in_float32, widened
from solon.engines.local.kv_cache import CacheSize, KeyValueCache, additive_mask
from solon.errors import ModelError
from solon.model_folders.mixed_precision import Casts, layers_in
from solon.model_folders.model_kind import refuse_encoder

_PREFILL_ON_CPU = 2048
"""Padded tokens in one pass; more overflow the processor's cache (measured: 16384 take 1.5 times as long)."""
_PREFILL_ON_GPU = 32768
_COPIES = 4
"""Copies of the logits in memory while a token is sampled."""
PADDING = torch.iinfo(torch.int64).max
"""The position of a key that no query may see."""


class CausalModel:
    """Any transformers causal language model that takes position ids and a cache."""

    def __init__(self, model: Any, window: int, precision: Precision = Precision.FLOAT32) -> None:
        """`window` is the most tokens in a row; raises ModelError for an unsupported architecture."""
        self.model = model
        self.window = window
        config = model.config.get_text_config(decoder=True)
        self.layers = int(config.num_hidden_layers)
        self.device: torch.device = _device_of(model)
        self.precision = precision
        self.dtype: torch.dtype = model.dtype if precision is Precision.FLOAT32 else torch.bfloat16
        """The type of keys, values and masks."""
        self.prefill_tokens = _PREFILL_ON_CPU if self.device.type == "cpu" else _PREFILL_ON_GPU
        self._sliding = _sliding_layers(config, window)
        self.by_columns = bool(getattr(config, "attention_layers", None))
        """Whether layers mask by columns themselves, as GPT-Neo's do, so that a row's columns must have no gaps."""
        forward = getattr(model, "get_base_model", lambda: model)().forward
        known = inspect.signature(forward).parameters
        missing = [name for name in ("position_ids", "past_key_values", "attention_mask") if name not in known]
        if missing:
            raise ModelError(
                f"a {type(model).__name__} cannot be asked in batches: its forward pass takes no {missing[0]}",
                remedy="Serve it with an inference server, or take another model",
            )
        if getattr(config, "alibi", False):
            raise ModelError(
                f"a {type(model).__name__} with ALiBi cannot be asked in batches: it takes columns for positions",
                remedy="Serve it with an inference server, or take another model",
            )
        refuse_encoder(model)
        self._keeps_logits = "logits_to_keep" in known
        self._attention = GroupedAttention(model, self.device)
        exact = precision is Precision.FLOAT32 and slow_by_default()
        self._large_layers = large_layers(model, self.device) if exact else ()
        self._head = model.get_output_embeddings()
        self._wide_head: Tensor | None = None
        self.column_bytes, self.position_bytes = self._measured()

    def _measured(self) -> tuple[int, int]:
        """Bytes of one cache column of a row, and of the logits of one position, measured on one token."""
        cache = self.new_cache(CacheSize(1, 1))
        one_11 = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        training = self.model.training
        self.model.eval()  # no dropout, which would draw random numbers
        with torch.inference_mode():
            logits = self.forward(one_11, one_11, None, cache, 1)
        if training:
            self.model.train()
        return cache.bytes, logits.numel() * max(4, logits.element_size()) * _COPIES

    def new_cache(self, size: CacheSize) -> KeyValueCache:
        """An empty cache for this model."""
        kept_as = None if self.precision is Precision.FLOAT32 else self.dtype
        return KeyValueCache(self.layers, size, kept_as)

    def forward(self, ids_BT: Tensor, positions_BT: Tensor, mask: Mask, cache: KeyValueCache, keep: int) -> Tensor:
        """Logits (B, N=keep, V) of the last `keep` positions; writes keys and values at the cache's column."""
        extra = {"logits_to_keep": keep} if self._keeps_logits else {}
        with (
            layers_in(self.precision, self.device, Casts.KEPT),
            in_float32(self._head, self._wide_head),
            by_onednn(self._large_layers),
            self._attention.packed(mask, ids_BT.shape[1]) as packed,
        ):
            logits: Tensor = self.model(
                input_ids=ids_BT,
                attention_mask=packed,
                position_ids=positions_BT,
                past_key_values=cache,
                use_cache=True,
                **extra,
            ).logits
        return logits[:, -keep:]

    @contextmanager
    def many_passes(self) -> Iterator[None]:
        """Prepare for many forward passes with the present weights, for the length of a block."""
        self._wide_head = widened(self._head)
        try:
            with layers_in(self.precision, self.device, Casts.KEPT):  # weights are cast once for all passes
                yield
        finally:
            self._wide_head = None

    def mask(self, query_BT: Tensor, key_BL: Tensor) -> Mask:
        """Which keys each query may see, by their positions; padding keys have position `PADDING`."""
        query_BT1, key_B1L = query_BT.unsqueeze(-1), key_BL.unsqueeze(1)
        hidden_BTL = key_B1L > query_BT1
        masks: dict[str | None, Tensor] = {}
        for kind, width in (self._sliding or {None: None}).items():
            far = hidden_BTL if width is None else hidden_BTL | (key_B1L <= query_BT1 - width)
            masks[kind] = additive_mask(far, self.dtype).unsqueeze(1)
        return masks[None] if None in masks else {str(kind): mask for kind, mask in masks.items()}

    @property
    def slides(self) -> bool:
        """Whether some layer has a sliding window shorter than the window, so that masks change with every token."""
        return bool(self._sliding)


def _device_of(model: Any) -> torch.device:
    """Where the model reads its tokens; accelerate keeps weights that it moves in and out on no device."""
    hook = getattr(model.get_input_embeddings(), "_hf_hook", None)
    device: torch.device = model.device
    return device if hook is None or device.type != "meta" else torch.device(hook.execution_device)


def _sliding_layers(config: Any, window: int) -> dict[str | None, int | None]:
    """Sliding window by layer type, None for full attention; empty when every layer sees the whole window.

    A model without layer types but with a sliding window has one type, `None`. Raises ModelError for layers that keep
    a running state instead of keys, which padding would disturb.
    """
    kinds = set(getattr(config, "layer_types", None) or ())
    if unknown := kinds - {"full_attention", "sliding_attention", "attention"}:
        raise ModelError(
            f"layers of the type {sorted(unknown)[0]} are not supported by the local engine",
            remedy="Serve the model with an inference server, or take one with plain attention",
        )
    width = getattr(config, "sliding_window", None)
    if width is None or width >= window or (kinds and "sliding_attention" not in kinds):
        return {}
    if kinds:
        return {kind: width if kind == "sliding_attention" else None for kind in sorted(kinds)}
    return {None: width}
