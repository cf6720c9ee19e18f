"""The losses of an update on episodes: of the policy, of the value function, and of a policy with a value head.

With a value head one forward and backward pass serves both losses. While the policy rests, the head learns alone, on
hidden states without gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from solon.config.recipe import Aggregation
from solon.rl.episodes import Episode
from solon.rl.rollout import Piece, batch_of, pieces_and_values, pieces_of
from solon.training.batches import to_device
from solon.training.forward import ScalarModel, TokenModel
from solon.training.learner import Counts
from solon.training.losses import kl_k3, policy_loss, token_logprobs, value_loss


def tokens_of(rows: Sequence[Episode]) -> float:
    """Response tokens."""
    return float(sum(len(row.reply.response) for row in rows))


@dataclass(frozen=True, slots=True)
class PolicyObjective:
    """The clipped surrogate, averaged over tokens or over replies."""

    model: TokenModel
    clip: float
    temperature: float
    dual_clip: float | None = None
    aggregation: Aggregation = Aggregation.TOKENS
    width: int = 1

    @property
    def pass_cost(self) -> int:
        """The model's."""
        return self.model.pass_cost

    def size(self, rows: Sequence[Episode]) -> float:
        """Response tokens, or replies."""
        return tokens_of(rows) if self.aggregation is Aggregation.TOKENS else float(len(rows))

    def loss(self, rows: Sequence[Episode]) -> tuple[Tensor, Counts]:
        """The summed loss, and sums over tokens that measure how far the policy has moved since sampling."""
        return self.loss_of(rows, self._logprobs(rows))

    def loss_of(self, rows: Sequence[Episode], logprob_N: Tensor) -> tuple[Tensor, Counts]:
        """The same from log-probabilities with gradient."""
        behaviour_N = to_device(torch.cat([row.behaviour_T for row in rows]), logprob_N.device)
        advantage_N = to_device(torch.cat([row.advantage_T for row in rows]), logprob_N.device)
        clipped = policy_loss(logprob_N, behaviour_N, advantage_N, self.clip, self.dual_clip)
        moved_N = kl_k3(behaviour_N, logprob_N.detach())
        loss_N = clipped.loss_N
        if self.aggregation is Aggregation.REPLIES:
            lengths_B = to_device(torch.tensor([len(row.reply.response) for row in rows]), loss_N.device)
            loss_N = loss_N / lengths_B.repeat_interleave(lengths_B, output_size=loss_N.numel())
        return loss_N.sum(), {
            "clipped": clipped.clipped_N.float().sum(),
            "ratio_error": (clipped.ratio_N - 1).abs().sum(),
            "moved": moved_N.sum(),
        }

    def _logprobs(self, rows: Sequence[Episode]) -> Tensor:
        """Those that were kept with their gradient, if any, else computed now."""
        if with_grad := _logprobs_with_grad(rows):
            return torch.cat(with_grad)
        ids_BT, mask_BT = batch_of([row.reply for row in rows], self.model.device)
        return _logprobs(pieces_of(self.model, ids_BT, mask_BT, self.temperature))


@dataclass(frozen=True, slots=True)
class ValueObjective:
    """The squared error of the value function, clipped if `clip` is set, averaged over tokens."""

    model: ScalarModel | TokenModel
    """A network of its own, or a policy with a value head, which then learns alone."""
    clip: float | None
    centre: float
    width: int = 1

    @property
    def pass_cost(self) -> int:
        """The model's."""
        return self.model.pass_cost

    def size(self, rows: Sequence[Episode]) -> float:
        """Response tokens."""
        return tokens_of(rows)

    def loss(self, rows: Sequence[Episode]) -> tuple[Tensor, Counts]:
        """The summed loss."""
        return value_losses(rows, self._values(rows), self.clip), {}

    def _values(self, rows: Sequence[Episode]) -> Tensor:
        """Those that were kept with their gradient, if any, else computed now."""
        if with_grad := _values_with_grad(rows):
            return torch.cat(with_grad)
        ids_BT, mask_BT = batch_of([row.reply for row in rows], self.model.device)
        return self.model.values(ids_BT, mask_BT) - self.centre


@dataclass(frozen=True, slots=True)
class JointObjective:
    """The loss of a policy plus that of its value head, from one forward pass; each is averaged as by itself."""

    policy: PolicyObjective
    clip_value: float | None
    value_share: float
    """The policy's `size` of the whole minibatch over its response tokens."""
    width: int = 1

    @property
    def pass_cost(self) -> int:
        """The model's."""
        return self.policy.pass_cost

    def size(self, rows: Sequence[Episode]) -> float:
        """The policy's."""
        return self.policy.size(rows)

    def loss(self, rows: Sequence[Episode]) -> tuple[Tensor, Counts]:
        """The summed loss, the policy's counts, and the two losses by themselves."""
        logprob_N, value_N = self._figures(rows)
        of_policy, counts = self.policy.loss_of(rows, logprob_N)
        of_values = value_losses(rows, value_N, self.clip_value)
        parts = {"policy_loss": of_policy.detach(), "value_loss": of_values.detach()}
        return of_policy + self.value_share * of_values, {**counts, **parts}

    def _figures(self, rows: Sequence[Episode]) -> tuple[Tensor, Tensor]:
        """Log-probabilities and values: those that were kept with their gradient, if any, else computed now."""
        logprobs, values = _logprobs_with_grad(rows), _values_with_grad(rows)
        if logprobs and values:
            return torch.cat(logprobs), torch.cat(values)
        model = self.policy.model
        ids_BT, mask_BT = batch_of([row.reply for row in rows], model.device)
        pieces, value_N = pieces_and_values(model, ids_BT, mask_BT, self.policy.temperature)
        return _logprobs(pieces), value_N


def value_losses(rows: Sequence[Episode], value_N: Tensor, clip: float | None) -> Tensor:
    """The summed loss of values with gradient."""
    old_N = to_device(torch.cat([row.value_T for row in rows if row.value_T is not None]), value_N.device)
    return_N = to_device(torch.cat([row.return_T for row in rows if row.return_T is not None]), value_N.device)
    return value_loss(value_N, old_N, return_N, clip).sum()


def _logprobs(pieces: Iterator[Piece]) -> Tensor:
    return torch.cat([token_logprobs(logits_NV, ids_N) for logits_NV, ids_N in pieces])


def _logprobs_with_grad(rows: Sequence[Episode]) -> list[Tensor]:
    return [row.logprob_with_grad_T for row in rows if row.logprob_with_grad_T is not None]


def _values_with_grad(rows: Sequence[Episode]) -> list[Tensor]:
    return [row.value_with_grad_T for row in rows if row.value_with_grad_T is not None]
