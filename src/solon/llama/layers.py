"""One layer of a Llama (Touvron et al. 2023): what it computes, and its gradient.

A layer is x + attention(unit(x)) and then x + feed_forward(unit(x)), where `unit` divides a row by its root mean
square. The gains of the norms are multiplied into the matrices that follow them, and the rows of the query and key
matrices are put in the order in which rotation turns neighbours (`network`): a rotation is then one product of complex
numbers. Queries that share a key head are rows of one matrix, so no key is repeated. For the gradient only what would
be dear to compute again is kept: not the attention's probabilities, and of the feed-forward part its first product.

Axes: N tokens, H hidden, F feed-forward width, B rows, T time, Q query heads, K key heads, D head width, G = Q / K.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a layer's tensors measure."""

    heads: int
    key_heads: int
    width: int
    epsilon: float

    @property
    def rotated(self) -> int:
        """Heads of queries and keys."""
        return self.heads + self.key_heads

    @property
    def all(self) -> int:
        """Heads of queries, keys and values."""
        return self.heads + 2 * self.key_heads


@dataclass(frozen=True, slots=True)
class Weights:
    """A layer's matrices, or their gradients."""

    qkv: Tensor
    """((Q + 2 K) D, H)"""
    out: Tensor
    """(H, Q D)"""
    gate_up: Tensor
    """(2 F, H)"""
    down: Tensor
    """(H, F)"""

    def tensors(self) -> tuple[Tensor, ...]:
        """All four."""
        return self.qkv, self.out, self.gate_up, self.down


@dataclass(frozen=True, slots=True)
class Span:
    """Rows of one length: how many, and the rotation of each position, complex (T, D / 2)."""

    rows: int
    turn_TD: Tensor

    @property
    def time(self) -> int:
        """Positions of a row."""
        return len(self.turn_TD)


Kept = tuple[Tensor, ...]


def unit(x_NH: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Rows over their root mean square, and one over that (N, 1)."""
    scale_N = torch.linalg.vecdot(x_NH, x_NH).div_(x_NH.shape[-1]).add_(epsilon).rsqrt_()
    scale_N1 = scale_N.unsqueeze(-1)
    return x_NH * scale_N1, scale_N1


def unit_backward(gradient_NH: Tensor, unit_NH: Tensor, scale_N1: Tensor, past_NH: Tensor) -> Tensor:
    """The gradient of x, to which `past_NH` came past the layer; overwrites `gradient_NH`."""
    along_N = torch.linalg.vecdot(gradient_NH, unit_NH).div_(unit_NH.shape[-1])
    return torch.addcmul(past_NH, gradient_NH.addcmul_(unit_NH, along_N.unsqueeze(-1), value=-1), scale_N1)


def attention(x_NH: Tensor, weights: Weights, sizes: Sizes, span: Span, wanted_N: Tensor | None) -> tuple[Tensor, Kept]:
    """What x becomes by attention, x + out(read(unit(x))), at all or the wanted positions; what the gradient needs."""
    unit_NH, scale_N1 = unit(x_NH, sizes.epsilon)
    heads_BTAD = (unit_NH @ weights.qkv.t()).view(span.rows, span.time, sizes.all, sizes.width)
    query_BQTD, key_BKTD = turned(heads_BTAD, sizes, span.turn_TD)
    value_BKTD = heads_BTAD[:, :, sizes.rotated :].transpose(1, 2)
    query, key, value = by_key_head(query_BQTD, key_BKTD, value_BKTD, sizes)
    read = torch.bmm(_probabilities(query, key, sizes, span), value)
    read_NX = read.view(span.rows, sizes.heads, span.time, sizes.width).transpose(1, 2).reshape(len(x_NH), -1)
    if wanted_N is not None:
        read_NX, x_NH = read_NX.index_select(0, wanted_N), x_NH.index_select(0, wanted_N)
    return torch.addmm(x_NH, read_NX, weights.out.t()), (unit_NH, scale_N1, query, key, value, read_NX)


def attention_backward(
    gradient_NH: Tensor,
    kept: Kept,
    weights_and_sums: tuple[Weights, Weights],
    sizes: Sizes,
    span: Span,
    wanted_N: Tensor | None,
) -> Tensor:
    """The gradient of x; those of the weights are added to the sums."""
    weights, sums = weights_and_sums
    unit_NH, scale_N1, query, key, value, read_NX = kept
    sums.out.addmm_(gradient_NH.t(), read_NX)
    of_read_NX = gradient_NH @ weights.out
    if wanted_N is not None:
        of_read_NX, gradient_NH = (_placed(each, wanted_N, len(unit_NH)) for each in (of_read_NX, gradient_NH))
    of_read_BTQD = of_read_NX.view(span.rows, span.time, sizes.heads, sizes.width)
    of_read = of_read_BTQD.transpose(1, 2).reshape(query.shape)
    probability = _probabilities(query, key, sizes, span)
    of_score = torch._softmax_backward_data(
        torch.bmm(of_read, value.transpose(1, 2)), probability, -1, probability.dtype
    )
    of_heads_BTAD = unit_NH.new_empty(span.rows, span.time, sizes.all, sizes.width)
    back_TD = (span.turn_TD * sizes.width**-0.5).conj().resolve_conj()
    _turn(torch.bmm(of_score, key), of_heads_BTAD[:, :, : sizes.heads], back_TD)
    _turn(torch.bmm(of_score.transpose(1, 2), query), of_heads_BTAD[:, :, sizes.heads : sizes.rotated], back_TD)
    of_value = torch.bmm(probability.transpose(1, 2), of_read).view(span.rows, sizes.key_heads, span.time, -1)
    of_heads_BTAD[:, :, sizes.rotated :].copy_(of_value.transpose(1, 2))
    of_heads_NX = of_heads_BTAD.view(len(unit_NH), -1)
    sums.qkv.addmm_(of_heads_NX.t(), unit_NH)
    return unit_backward(of_heads_NX @ weights.qkv, unit_NH, scale_N1, gradient_NH)


def turned(heads_BTAD: Tensor, sizes: Sizes, turn_TD: Tensor) -> tuple[Tensor, Tensor]:
    """Queries (B, Q, T, D) and keys (B, K, T, D) turned by their positions; `turn_TD` may be by row, (B, 1, T, D/2)."""
    pairs_BATD = _pairs(heads_BTAD[:, :, : sizes.rotated]).transpose(1, 2)
    rows, _, time, width = pairs_BATD.shape
    parts = []
    for pairs in (pairs_BATD[:, : sizes.heads], pairs_BATD[:, sizes.heads :]):
        part = heads_BTAD.new_empty(rows, pairs.shape[1], time, 2 * width)
        torch.mul(pairs, turn_TD, out=_pairs(part))
        parts.append(part)
    return parts[0], parts[1]


def by_key_head(query_BQTD: Tensor, key_BKTD: Tensor, value_BKTD: Tensor, sizes: Sizes) -> tuple[Tensor, ...]:
    """Queries (B K, G T, D) beside the keys and values (B K, L, D) that they read."""
    rows = len(query_BQTD) * sizes.key_heads
    return (
        query_BQTD.reshape(rows, -1, sizes.width),
        key_BKTD.reshape(rows, -1, sizes.width),
        value_BKTD.reshape(rows, -1, sizes.width),
    )


def causal(time: int, like: Tensor) -> Tensor:
    """0 where a position is seen and minus infinity where it is still to come, (T, T)."""
    return torch.full((time, time), float("-inf"), dtype=like.dtype).triu_(1)


def _probabilities(query: Tensor, key: Tensor, sizes: Sizes, span: Span) -> Tensor:
    """What each query reads of each key, (B K, G T, T)."""
    mask = causal(span.time, query).repeat(sizes.heads // sizes.key_heads, 1)
    score = torch.baddbmm(mask.expand(len(query), -1, -1), query, key.transpose(1, 2), alpha=sizes.width**-0.5)
    return score.softmax(-1)


def _turn(from_: Tensor, to_BTAD: Tensor, turn_TD: Tensor) -> None:
    """Turn (B K, G T, D), which is (B, A, T, D), and write it where tokens come first."""
    rows, time, heads, width = to_BTAD.shape
    torch.mul(_pairs(from_.view(rows, heads, time, width)), turn_TD, out=_pairs(to_BTAD).transpose(1, 2))


def _pairs(heads: Tensor) -> Tensor:
    """Neighbouring numbers of (..., D) as complex ones (..., D / 2), in the same memory."""
    return torch.view_as_complex(heads.view(*heads.shape[:-1], -1, 2))


def _placed(some_NX: Tensor, wanted_N: Tensor, size: int) -> Tensor:
    """Rows at their places among `size`, the others 0."""
    return some_NX.new_zeros(size, some_NX.shape[1]).index_copy_(0, wanted_N, some_NX)


def feed_forward(x_NH: Tensor, weights: Weights, sizes: Sizes) -> tuple[Tensor, Kept]:
    """What x becomes by the feed-forward part, x + down(silu(gate(unit)) up(unit)); what the gradient needs."""
    unit_NH, scale_N1 = unit(x_NH, sizes.epsilon)
    both_N2F = unit_NH @ weights.gate_up.t()
    gate_NF, up_NF = both_N2F.chunk(2, -1)
    inner_NF = functional.silu(gate_NF).mul_(up_NF)
    return torch.addmm(x_NH, inner_NF, weights.down.t()), (unit_NH, scale_N1, both_N2F)


def feed_forward_backward(gradient_NH: Tensor, kept: Kept, weights: Weights, sums: Weights) -> Tensor:
    """The gradient of x; those of the weights are added to `sums`."""
    unit_NH, scale_N1, both_N2F = kept
    gate_NF, up_NF = both_N2F.chunk(2, -1)
    sigmoid_NF = torch.sigmoid(gate_NF)
    silu_NF = gate_NF * sigmoid_NF
    inner_NF = silu_NF * up_NF
    sums.down.addmm_(gradient_NH.t(), inner_NF)
    of_inner_NF = torch.mm(gradient_NH, weights.down, out=inner_NF)
    of_both_N2F = torch.empty_like(both_N2F)
    of_gate_NF, of_up_NF = of_both_N2F.chunk(2, -1)
    torch.mul(of_inner_NF, silu_NF, out=of_up_NF)
    # d silu(g) / dg = s + silu (1 - s), on the way from silu to 1 by the share s
    slope_NF = torch.lerp(silu_NF, silu_NF.new_ones(()), sigmoid_NF, out=silu_NF)
    torch.mul(of_inner_NF.mul_(up_NF), slope_NF, out=of_gate_NF)
    sums.gate_up.addmm_(of_both_N2F.t(), unit_NH)
    return unit_backward(of_both_N2F @ weights.gate_up, unit_NH, scale_N1, gradient_NH)


def zeros_like(weights: Sequence[Weights]) -> list[Weights]:
    """Sums of gradients before anything was added."""
    return [Weights(*(torch.zeros_like(each) for each in layer.tensors())) for layer in weights]
