"""Logits of a model in half precision, computed in float32.

A head in bfloat16 rounds its logits to eight bits: two letters of nearly the same probability then get the same number,
and a question with nearly equal options has no answer. The product of hidden states and head is therefore taken in
float32, where products of half-precision numbers are exact. Only the head's own product is replaced while the model
runs. What a model does to its logits afterwards (Gemma's soft cap, the scales of Granite, Cohere and Falcon-H1) is its
own code and runs in float32 too, like the log-sum-exp over the vocabulary.

Axes: N positions, H hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeGuard

import torch
from torch import Tensor, nn

from solon.model_folders.mixed_precision import float32_head, is_plain
from solon.model_folders.system_memory import system_memory

HALVES = frozenset({torch.bfloat16, torch.float16})
"""Types in which logits are too coarse to be compared."""
_PIECE = 1 << 24
"""Numbers of the head that exist in float32 at the same time: 64 MiB."""
_MEMORY_SHARE = 0.25
"""Share of the free memory that a whole head in float32 may take."""


@contextmanager
def in_float32(head: nn.Module | None, wide_VH: Tensor | None = None) -> Iterator[None]:
    """Make `head` give float32 logits for the length of a block, if it is a plain half-precision product.

    `wide_VH` is the head's weight in float32, where `widened` gave one.

    Any other head (quantized, with an adapter, moved between devices) gives logits of its own type, which the caller
    has to check.
    """
    if not _is_half(head):
        with float32_head(head):  # under autocast it would round as well
            yield
        return
    # The model still calls the module, so its hooks run.
    head.forward = partial(_logits, head, wide_VH)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del head.forward


def _is_half(head: nn.Module | None) -> TypeGuard[nn.Linear]:
    return is_plain(head) and head.weight.dtype in HALVES


def widened(head: nn.Module | None) -> Tensor | None:
    """The weight (V, H) of a half-precision head in float32, for many products with it; None where that does not pay.

    On a CPU the conversion takes longer than the product: half of each step of generation with a vocabulary of 150,000.
    """
    if not _is_half(head) or head.weight.device.type != "cpu":
        return None
    memory = system_memory()
    if memory is None or 4 * head.weight.numel() > _MEMORY_SHARE * memory.free:
        return None
    return head.weight.detach().float()


def _logits(head: nn.Linear, wide_VH: Tensor | None, hidden: Tensor) -> Tensor:
    """Logits (..., V) in float32 of hidden states (..., H)."""
    hidden_NH = hidden.flatten(0, -2)
    if hidden.is_cuda and torch.version.hip is None and hidden.dtype == head.weight.dtype:
        # The device sums in float32 anyway; this keeps the sums instead of rounding them, at no cost.
        logits_NV = torch.mm(hidden_NH, head.weight.t(), out_dtype=torch.float32)
    else:
        with _exact_products(hidden.dtype):
            logits_NV = _in_pieces(hidden_NH, head.weight) if wide_VH is None else hidden_NH.float() @ wide_VH.t()
    if head.bias is not None:
        logits_NV += head.bias.float()
    return logits_NV.view(*hidden.shape[:-1], -1)


@contextmanager
def _exact_products(dtype: torch.dtype) -> Iterator[None]:
    """Allow factors in bfloat16 with sums in float32: nothing is rounded where the factors were bfloat16 before."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if dtype is torch.bfloat16 else precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)


def _in_pieces(hidden_NH: Tensor, weight_VH: Tensor) -> Tensor:
    """The product in float32; the head is converted a few rows at a time, since it may be a large part of the model."""
    wide_NH = hidden_NH.float()
    logits_NV = wide_NH.new_empty(len(wide_NH), len(weight_VH))
    rows = max(1, _PIECE // weight_VH.shape[1])
    for start in range(0, len(weight_VH), rows):
        logits_NV[:, start : start + rows] = wide_NH @ weight_VH[start : start + rows].float().t()
    return logits_NV
