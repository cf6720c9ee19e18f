"""Losses, rewards and advantages as pure functions, each with its equation.

Nothing here depends on models, batches or files. Losses are sums where a caller accumulates gradients over
micro-batches, since the divisor is the whole batch's and not the micro-batch's.

Axes, for all of `solon.training`: B rows, T positions (padded on the right), V vocabulary, H hidden, and N tokens that
were picked out of (B, T) by a mask. A mask is boolean, True where a token counts. Log-probabilities are natural.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LOG_RATIO_LIMIT = 20.0
"""Log-ratios are clipped here, so that exponentials do not overflow."""
SCORE_LIMIT = 10.0
"""Scores are calibrated log-odds; no preference model is surer than e**10 to 1."""
KL_ERROR_LIMIT = 0.2
"""The KL error of an adaptive coefficient is clipped to this share of the target."""
_TINY = 1e-8


def at_temperature(logits_NV: Tensor, temperature: float) -> Tensor:
    """Logits in float32 over the temperature."""
    return logits_NV.float() if temperature == 1 else logits_NV.float() / temperature


def token_logprobs(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """The log-probability of each target token, log p(target) in float32, shape (N)."""
    return -functional.cross_entropy(logits_NV.float(), targets_N, reduction="none")


def token_entropies(logits_NV: Tensor) -> Tensor:
    """H = -sum_v p log p per token, in nats, shape (N); logits of minus infinity count as impossible tokens."""
    logits_NV = logits_NV.float()
    # With z <= 0 after subtracting the greatest, H = -log max p - sum p z: two terms that are never negative, and no
    # logarithm for each token of the vocabulary. Minus infinity times a probability of 0 would be no number.
    below_NV = (logits_NV - logits_NV.amax(-1, keepdim=True)).clamp_(min=torch.finfo(logits_NV.dtype).min)
    probability_NV = below_NV.softmax(-1)
    entropy_N: Tensor = -probability_NV.amax(-1).log() - torch.linalg.vecdot(probability_NV, below_NV)
    return entropy_N


def completion_loss(logits_NV: Tensor, targets_N: Tensor) -> tuple[Tensor, int]:
    """-sum log p(target) over the N completion tokens, and N (paper, section 3.1: finetuning on revisions)."""
    return functional.cross_entropy(logits_NV.float(), targets_N, reduction="sum"), targets_N.numel()


def preference_loss(chosen_B: Tensor, rejected_B: Tensor, p_chosen_B: Tensor) -> Tensor:
    """Cross-entropy of sigmoid(d) to the soft label p, with d = chosen - rejected: -log sigmoid(d) + (1 - p) d.

    Shape (B). Its gradient by d is sigmoid(d) - p, so a label of 0.5 pulls the scores together (paper, section 4.1:
    the preference model is trained on the feedback model's normalised probabilities).
    """
    difference_B = chosen_B - rejected_B
    return -functional.logsigmoid(difference_B) + (1 - p_chosen_B) * difference_B


def ordered_as_labelled(chosen_B: Tensor, rejected_B: Tensor, p_chosen_B: Tensor) -> Tensor:
    """1 where the scores prefer the reply that the label prefers, 0 where the other, 0.5 where they are equal.

    Shape (B). A label of 0.5 prefers none, and gives 0.
    """
    as_labelled_B = (chosen_B - rejected_B).sign() * (p_chosen_B - 0.5).sign()
    return (as_labelled_B + 1) / 2 * (p_chosen_B != 0.5)


def rating_loss(score_B: Tensor, rating_B: Tensor) -> Tensor:
    """(score - rating)^2, shape (B): the L2 loss of the absolute harmfulness score (paper, section 5)."""
    return (score_B - rating_B).square()


def direct_preference_loss(chosen_B: Tensor, rejected_B: Tensor, p_chosen_B: Tensor, beta: float) -> Tensor:
    """-(p log sigmoid(beta d) + (1 - p) log sigmoid(-beta d)), shape (B), of policies compared with their reference.

    d = chosen - rejected, where `chosen_B` and `rejected_B` are log p(reply) - log p_reference(reply), summed over the
    tokens of a reply. At p = 1 it is equation 7 of Rafailov et al. 2023, and below that the same with a label that may
    be wrong (Mitchell 2023), here with a probability for each pair. beta times the log-ratio is the reward that the
    policy implies; the loss is the preference model's on it.
    """
    return preference_loss(beta * chosen_B, beta * rejected_B, p_chosen_B)


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """`loss_N` has the gradient; `ratio_N` (to the behaviour policy) and `clipped_N` are for metrics."""

    loss_N: Tensor
    ratio_N: Tensor
    clipped_N: Tensor


def policy_loss(
    logprob_N: Tensor, behaviour_N: Tensor, advantage_N: Tensor, clip: float, dual_clip: float | None = None
) -> PolicyLoss:
    """-min(r A, clip(r, 1 - c, 1 + c) A) with r = p / p_behaviour (Schulman et al. 2017, equation 7).

    With `dual_clip` the loss of a token with A < 0 is at most -dual_clip A, however likely the token has become (Ye et
    al. 2020, equation 5).
    """
    ratio_N = (logprob_N - behaviour_N).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    plain_N = -advantage_N * ratio_N
    limited_N = -advantage_N * ratio_N.clamp(1 - clip, 1 + clip)
    loss_N, clipped_N = torch.maximum(plain_N, limited_N), limited_N > plain_N
    if dual_clip is not None:
        most_N = -dual_clip * advantage_N
        beyond_N = (advantage_N < 0) & (loss_N > most_N)
        loss_N, clipped_N = torch.where(beyond_N, most_N, loss_N), clipped_N | beyond_N
    return PolicyLoss(loss_N, ratio_N.detach(), clipped_N.detach())


def value_loss(value_N: Tensor, old_N: Tensor, return_N: Tensor, clip: float | None) -> Tensor:
    """0.5 max((v - R)^2, (v_old + clip(v - v_old, -c, c) - R)^2), shape (N) (Huang et al. 2024, detail 12).

    Without a clip the first of the two.
    """
    plain_N = (value_N - return_N).square()
    if clip is None:
        return 0.5 * plain_N
    limited_N = old_N + (value_N - old_N).clamp(-clip, clip)
    return 0.5 * torch.maximum(plain_N, (limited_N - return_N).square())


def kl_k1(logprob_N: Tensor, reference_N: Tensor) -> Tensor:
    """The estimator log p - log q on samples of p: unbiased for KL(p || q), and negative for single tokens."""
    return logprob_N - reference_N


def kl_k3(logprob_N: Tensor, reference_N: Tensor) -> Tensor:
    """exp(d) - 1 - d with d = log q - log p: unbiased for KL(p || q), never negative (Schulman 2020, k3)."""
    difference_N = (reference_N - logprob_N).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return difference_N.expm1() - difference_N


def adapted_kl(coefficient: float, kl: float, target: float, replies: int, horizon: int) -> float:
    """The next coefficient: coefficient (1 + clip(KL / target - 1, -0.2, 0.2) replies / horizon).

    `kl` and `target` are nats per reply (Ziegler et al. 2019, section 2.2).
    """
    error = min(max(kl / target - 1, -KL_ERROR_LIMIT), KL_ERROR_LIMIT)
    return coefficient * (1 + error * replies / horizon)


def token_rewards(
    score_B: Tensor,
    logprob_BT: Tensor,
    reference_BT: Tensor,
    mask_BT: Tensor,
    kl_coefficient: float,
    limit: float | None = SCORE_LIMIT,
) -> Tensor:
    """Per-token rewards of a reply, shape (B, T), 0 where the mask is False.

    -coefficient * (log p - log p_reference) at every token, and the score, clipped to +-limit, on the last one
    (Bai et al. 2022a, equation 4.1, with the KL spread over the tokens). Every row needs at least one token.
    """
    rewards_BT = (-kl_coefficient * (logprob_BT - reference_BT)).masked_fill(~mask_BT, 0.0)
    last_B1 = last_positions(mask_BT).unsqueeze(1)
    if limit is not None:
        score_B = score_B.clamp(-limit, limit)
    return rewards_BT.scatter_add(1, last_B1, score_B.unsqueeze(1).to(rewards_BT))


def last_positions(mask_BT: Tensor) -> Tensor:
    """The last position that is True in each row, shape (B); every row has one."""
    positions_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    return (positions_T * mask_BT).argmax(1)


def generalised_advantages(
    rewards_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, equation 16), and returns = advantages + values.

    A_t = sum_k (gamma gae_lambda)^k delta_{t+k} with delta_t = r_t + gamma V_{t+1} - V_t. `values_BT[t]` is the value
    of the state before token t. After the last token nothing follows: its successor's value is 0, for cut-off replies
    too. Masked positions must be at the right; they get 0.
    """
    values_BT = values_BT.masked_fill(~mask_BT, 0.0)
    running_B = torch.zeros_like(values_BT[:, 0])
    following_B = torch.zeros_like(running_B)
    columns = []
    for t in range(values_BT.shape[1] - 1, -1, -1):
        delta_B = rewards_BT[:, t] + gamma * following_B - values_BT[:, t]
        running_B = (delta_B + gamma * gae_lambda * running_B).masked_fill(~mask_BT[:, t], 0.0)
        following_B = values_BT[:, t]
        columns.append(running_B)
    advantages_BT = torch.stack(columns[::-1], dim=1)
    return advantages_BT, advantages_BT + values_BT


def leave_one_out(reward_B: Tensor, groups: Sequence[str]) -> Tensor:
    """A_i = R_i - mean of R_j over the other replies j of i's group, shape (B) (Ahmadian et al. 2024, equation 6).

    The baseline is independent of reply i, so the gradient stays unbiased. The only reply of a group has no
    baseline, and an advantage of 0.
    """
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    group_B = torch.tensor([numbers[group] for group in groups], device=reward_B.device)
    zeros_G = torch.zeros(len(numbers), device=reward_B.device, dtype=reward_B.dtype)
    others_B = zeros_G.index_add(0, group_B, torch.ones_like(reward_B))[group_B] - 1
    sum_B = zeros_G.index_add(0, group_B, reward_B)[group_B] - reward_B
    return torch.where(others_B > 0, reward_B - sum_B / others_B.clamp(min=1), torch.zeros_like(reward_B))


def whiten(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """(x - mean) / standard deviation over all masked tokens of the rollout; 0 elsewhere, and when all are equal."""
    picked_N = values_BT[mask_BT]
    centred_BT = values_BT - picked_N.mean()
    variance = (picked_N - picked_N.mean()).square().mean()
    return (centred_BT * (variance + _TINY).rsqrt()).masked_fill(~mask_BT, 0.0)


def explained_variance(value_N: Tensor, return_N: Tensor) -> float:
    """1 - Var(R - V) / Var(R): 1 for a perfect value function, 0 for a constant one; 0 when all returns are equal."""
    spread = return_N.var(correction=0)
    if spread < _TINY:
        return 0.0
    return float(1 - (return_N - value_N).var(correction=0) / spread)
