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

HALVES = frozenset({torch.bfloat16, torch.float16})
"""Types in which logits are too coarse to be compared."""
_PIECE = 1 << 24
"""Numbers of the head that exist in float32 at the same time: 64 MiB."""


@contextmanager
def in_float32(head: nn.Module | None) -> Iterator[None]:
    """Make `head` give float32 logits for the length of a block, if it is a plain half-precision product.

    Any other head (quantized, with an adapter, moved between devices) gives logits of its own type, which the caller
    has to check.
    """
    if not _is_plain(head):
        yield
        return
    # The model still calls the module, so its hooks run.
    head.forward = partial(_logits, head)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del head.forward


def _is_plain(head: nn.Module | None) -> TypeGuard[nn.Linear]:
    return (
        isinstance(head, nn.Linear)
        and type(head).forward is nn.Linear.forward
        and "forward" not in vars(head)  # accelerate puts one there to move weights in and out
        and head.weight.dtype in HALVES
    )


def _logits(head: nn.Linear, hidden: Tensor) -> Tensor:
    """Logits (..., V) in float32 of hidden states (..., H)."""
    hidden_NH = hidden.flatten(0, -2)
    if hidden.is_cuda and torch.version.hip is None and hidden.dtype == head.weight.dtype:
        # The device sums in float32 anyway; this keeps the sums instead of rounding them, at no cost.
        logits_NV = torch.mm(hidden_NH, head.weight.t(), out_dtype=torch.float32)
    else:
        logits_NV = _in_pieces(hidden_NH, head.weight)
    if head.bias is not None:
        logits_NV += head.bias.float()
    return logits_NV.view(*hidden.shape[:-1], -1)


def _in_pieces(hidden_NH: Tensor, weight_VH: Tensor) -> Tensor:
    """The product in float32; the head is converted a few rows at a time, since it may be a large part of the model."""
    wide_NH = hidden_NH.float()
    logits_NV = wide_NH.new_empty(len(wide_NH), len(weight_VH))
    rows = max(1, _PIECE // weight_VH.shape[1])
    for start in range(0, len(weight_VH), rows):
        logits_NV[:, start : start + rows] = wide_NH @ weight_VH[start : start + rows].float().t()
    return logits_NV
