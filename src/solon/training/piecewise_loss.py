"""The loss of completions under a large vocabulary, a few tokens at a time.

All logits of a batch and what their loss keeps would need more memory than the model. A sum over tokens has a gradient
that is known as soon as a token's logits are, so each piece adds its gradient at once and its logits are dropped. The
products are those of the plain way (Hsu et al. 2024, arXiv 2410.10989).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_NUMBERS = 1 << 25
"""Logits in memory at the same time; below that the plain loss is used."""


def piecewise_loss(hidden_NH: Tensor, head: nn.Linear, targets_N: Tensor, size: int) -> Tensor:
    """-sum log p(target) of hidden states under a plain `head`, at most `size` tokens at a time."""
    if not torch.is_grad_enabled():
        pieces = zip(torch.split(hidden_NH, size), torch.split(targets_N, size), strict=True)
        losses = [functional.cross_entropy(head(hidden), targets, reduction="sum") for hidden, targets in pieces]
        return torch.stack(losses).sum()
    return cast(Tensor, _Piecewise.apply(hidden_NH, head.weight, head.bias, targets_N, size))  # type: ignore[no-untyped-call]


class _Piecewise(torch.autograd.Function):
    """The sum, with its gradients by states, weight and bias."""

    @staticmethod
    def forward(
        ctx: Any, hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, targets_N: Tensor, size: int
    ) -> Any:
        total = hidden_NH.new_zeros(())
        needed = ctx.needs_input_grad
        by_hidden, by_weight, by_bias = (
            torch.zeros_like(each) if need and each is not None else None
            for each, need in zip((hidden_NH, weight_VH, bias_V), needed[:3], strict=True)
        )
        for start in range(0, len(targets_N), size):
            part, wanted_N1 = hidden_NH[start : start + size], targets_N[start : start + size].unsqueeze(1)
            logprobs_NV = functional.linear(part, weight_VH, bias_V).log_softmax(-1)
            total -= logprobs_NV.gather(1, wanted_N1).sum()
            gradient_NV = logprobs_NV.exp_()
            gradient_NV.scatter_add_(1, wanted_N1, -torch.ones_like(wanted_N1, dtype=gradient_NV.dtype))
            if by_hidden is not None:
                torch.mm(gradient_NV, weight_VH, out=by_hidden[start : start + size])
            if by_weight is not None:
                by_weight.addmm_(gradient_NV.T, part)
            if by_bias is not None:
                by_bias += gradient_NV.sum(0)
        ctx.gradients = (by_hidden, by_weight, by_bias)
        return total

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> Any:
        return *(None if each is None else each * above for each in ctx.gradients), None, None
