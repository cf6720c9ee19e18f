"""Sampling tokens: the inverse of the cumulative distribution at one uniform per row and step.

The uniform of a row is a pure function of the row's seed and the step, so a row's text does not depend on which rows
share its batch. One comparison per vocabulary entry replaces the noise that a categorical draw needs for each of them,
which is most of the time of a step on a small model.

Axes: B rows, S steps, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MASK = (1 << 64) - 1


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection that lets every bit depend on all."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def uniforms(seeds: Sequence[int], steps: int) -> NDArray[np.float64]:
    """Numbers in the open interval (0, 1), shape (len(seeds), steps); entry (i, s) depends only on seeds[i] and s.

    A counter-based generator: the seed is mixed once, so that neighbouring seeds start far apart, and the step counts
    from there. 52 random bits each.
    """
    start_B = _mix(np.array([seed & _MASK for seed in seeds], dtype=np.uint64) + _GOLDEN)
    counter_S = np.arange(1, steps + 1, dtype=np.uint64) * _GOLDEN
    bits_BS = _mix(start_B[:, None] + counter_S[None, :])
    return ((bits_BS >> np.uint64(12)).astype(np.float64) + 0.5) / 2**52


class TokenSampler(Protocol):
    """Draws one token per row."""

    def __call__(self, logits_BV: Tensor, uniform_B: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids (B) and their natural log-probabilities (B, float32)."""
        ...


def sampler_for(temperature: float, top_p: float) -> TokenSampler:
    """The cheapest sampler that draws at `temperature` from the `top_p` nucleus; temperature 0 is greedy."""
    if temperature == 0:
        return greedy

    def whole(logits_BV: Tensor, uniform_B: Tensor) -> tuple[Tensor, Tensor]:
        return draw(logits_BV, uniform_B, temperature)

    def nucleus(logits_BV: Tensor, uniform_B: Tensor) -> tuple[Tensor, Tensor]:
        return draw_nucleus(logits_BV, uniform_B, temperature, top_p)

    return whole if top_p >= 1 else nucleus


def greedy(logits_BV: Tensor, uniform_B: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest token; its log-probability is that at temperature 1 (at temperature 0 it would always be 0)."""
    logits_BV = logits_BV.float()
    top_B, token_B = logits_BV.max(-1)
    return token_B, top_B - logits_BV.logsumexp(-1)


def draw(logits_BV: Tensor, uniform_B: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """A token from softmax(logits / temperature) at the quantile `uniform_B`, in the order of the vocabulary."""
    scaled_BV = _scaled(logits_BV, temperature)
    cumulated_BV = scaled_BV.exp().cumsum(-1)
    total_B1 = cumulated_BV[:, -1:]
    token_B1 = _invert(cumulated_BV, uniform_B, total_B1)
    logprob_B = (scaled_BV.gather(-1, token_B1) - total_B1.log()).squeeze(-1)
    return token_B1.squeeze(-1), logprob_B


def draw_nucleus(logits_BV: Tensor, uniform_B: Tensor, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """A token from the smallest set of likeliest tokens with total probability `top_p` (Holtzman et al. 2020).

    The log-probability is that of the whole distribution at `temperature`, which is what a policy gradient needs.
    """
    scaled_BV = _scaled(logits_BV, temperature)
    total_B1 = scaled_BV.exp().sum(-1, keepdim=True)
    likely_BK, token_BK = _likely(scaled_BV, total_B1, top_p)
    sorted_BK, order_BK = likely_BK.sort(dim=-1, descending=True, stable=True)
    cumulated_BK = sorted_BK.exp().cumsum(-1)
    last_B1 = torch.searchsorted(cumulated_BK, top_p * total_B1).clamp_(max=cumulated_BK.shape[-1] - 1)
    rank_B1 = _invert(cumulated_BK, uniform_B, cumulated_BK.gather(-1, last_B1))
    logprob_B = (sorted_BK.gather(-1, rank_B1) - total_B1.log()).squeeze(-1)
    return token_BK.gather(-1, order_BK.gather(-1, rank_B1)).squeeze(-1), logprob_B


def _likely(scaled_BV: Tensor, total_B1: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Values and ids (B, K) of the tokens that can be in the nucleus, by id; rows with fewer end on minus infinity.

    All tokens with less than the share (1 - top_p) / V together have less than 1 - top_p, so the nucleus does without
    them. What is left is sorted in a fraction of the time of the whole vocabulary.
    """
    least_B1 = (total_B1 * ((1 - top_p) / scaled_BV.shape[-1])).log()
    possible_BV = scaled_BV >= least_B1
    row_N, token_N = possible_BV.nonzero(as_tuple=True)
    count_B = possible_BV.sum(-1)
    place_N = torch.arange(len(row_N), device=row_N.device) - (count_B.cumsum(0) - count_B)[row_N]
    width = max(1, int(count_B.max()))
    token_BK = row_N.new_zeros(len(scaled_BV), width)
    likely_BK = scaled_BV.new_full((len(scaled_BV), width), -torch.inf)
    token_BK[row_N, place_N] = token_N
    likely_BK[row_N, place_N] = scaled_BV[row_N, token_N]
    return likely_BK, token_BK


def _scaled(logits_BV: Tensor, temperature: float) -> Tensor:
    """Float32 logits over the temperature, moved so that the greatest is 0 and no exponential overflows."""
    logits_BV = logits_BV.float()
    if temperature != 1:
        # The maximum is taken first: dividing large logits by a small temperature would overflow.
        return (logits_BV - logits_BV.amax(-1, keepdim=True)) / temperature
    return logits_BV - logits_BV.amax(-1, keepdim=True)


def _invert(cumulated_BV: Tensor, uniform_B: Tensor, mass_B1: Tensor) -> Tensor:
    """The first index with more cumulated mass than the share `uniform_B` of `mass_B1`.

    `right` skips entries of no mass at a share of 0; keeping the target below the mass itself does so at a share that
    rounds to 1. Hence no token of probability 0 is ever drawn.
    """
    target_B1 = uniform_B.to(cumulated_BV.dtype).unsqueeze(-1) * mass_B1
    below_B1 = torch.nextafter(mass_B1, torch.zeros_like(mass_B1))
    # A mass of NaN leads past the end; `refuse_undefined` then finds the token's log-probability.
    found_B1 = torch.searchsorted(cumulated_BV, torch.minimum(target_B1, below_B1), right=True)
    return found_B1.clamp_(max=cumulated_BV.shape[-1] - 1)
