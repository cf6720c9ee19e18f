"""The update on one rollout: a few passes in reshuffled minibatches with clipped losses (Schulman et al. 2017).

Policy and value function are separate networks with separate optimisers. The policy is not updated while the value
function warms up, nor for the rest of a rollout after its KL exceeds `rl.target_kl`.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from solon.config.recipe import Aggregation, Precision, ReinforcementSettings
from solon.errors import StageError
from solon.rl.episodes import Episode, Networks, Rollout, ValueModel, episodes_of
from solon.rl.rollout import Tape, batch_of, pieces_of
from solon.training.batches import sent, shuffled
from solon.training.forward import ScalarModel, TokenModel
from solon.training.learner import Counts, risen
from solon.training.loop import accumulate
from solon.training.losses import kl_k3, policy_loss, token_logprobs, value_loss

RATIO_TOLERANCE, RATIO_TOLERANCE_REDUCED = 1e-3, 3e-2
"""How far the mean ratio may be from 1 before the first update: rounding, under exact or reduced matrix products."""
OF_POLICY = ("policy_loss", "policy_gradient_norm", "clip_fraction")
OF_VALUE = ("value_loss", "value_gradient_norm")


def _tokens(rows: Sequence[Episode]) -> float:
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

    def size(self, rows: Sequence[Episode]) -> float:
        """Response tokens, or replies."""
        return _tokens(rows) if self.aggregation is Aggregation.TOKENS else float(len(rows))

    def loss(self, rows: Sequence[Episode]) -> tuple[Tensor, Counts]:
        """The summed loss, and sums over tokens that measure how far the policy has moved since sampling."""
        logprob_N = self._logprobs(rows)
        behaviour_N = sent(torch.cat([row.behaviour_T for row in rows]), logprob_N.device)
        advantage_N = sent(torch.cat([row.advantage_T for row in rows]), logprob_N.device)
        clipped = policy_loss(logprob_N, behaviour_N, advantage_N, self.clip, self.dual_clip)
        moved_N = kl_k3(behaviour_N, logprob_N.detach())
        loss_N = clipped.loss_N
        if self.aggregation is Aggregation.REPLIES:
            lengths_B = sent(torch.tensor([len(row.reply.response) for row in rows]), loss_N.device)
            loss_N = loss_N / lengths_B.repeat_interleave(lengths_B, output_size=loss_N.numel())
        return loss_N.sum(), {
            "clipped": clipped.clipped_N.float().sum(),
            "ratio_error": (clipped.ratio_N - 1).abs().sum(),
            "moved": moved_N.sum(),
        }

    def _logprobs(self, rows: Sequence[Episode]) -> Tensor:
        """Taped ones if there are any, else computed now."""
        if taped := [row.logprob_tape_T for row in rows if row.logprob_tape_T is not None]:
            return torch.cat(taped)
        ids_BT, mask_BT = batch_of([row.reply for row in rows], self.model.device)
        pieces = pieces_of(self.model, ids_BT, mask_BT, self.temperature)
        return torch.cat([token_logprobs(logits_NV, ids_N) for logits_NV, ids_N in pieces])


@dataclass(frozen=True, slots=True)
class ValueObjective:
    """The squared error of the value function, clipped if `clip` is set, averaged over tokens."""

    model: ScalarModel
    clip: float | None
    centre: float
    width: int = 1

    def size(self, rows: Sequence[Episode]) -> float:
        """Response tokens."""
        return _tokens(rows)

    def loss(self, rows: Sequence[Episode]) -> tuple[Tensor, Counts]:
        """The summed loss."""
        value_N = self._values(rows)
        old_N = sent(torch.cat([row.value_T for row in rows if row.value_T is not None]), value_N.device)
        return_N = sent(torch.cat([row.return_T for row in rows if row.return_T is not None]), value_N.device)
        return value_loss(value_N, old_N, return_N, self.clip).sum(), {}

    def _values(self, rows: Sequence[Episode]) -> Tensor:
        """Taped ones if there are any, else computed now."""
        if taped := [row.value_tape_T for row in rows if row.value_tape_T is not None]:
            return torch.cat(taped)
        ids_BT, mask_BT = batch_of([row.reply for row in rows], self.model.device)
        return self.model.values(ids_BT, mask_BT) - self.centre


def update(
    networks: Networks, rollout: Rollout, settings: ReinforcementSettings, step: int, seed: int
) -> dict[str, float | int | None]:
    """Pass over the rollout `epochs` times in reshuffled minibatches; returns the means of the metrics.

    Raises DivergedError when a loss or gradient is not finite, and StageError when training computes other
    log-probabilities than were measured.
    """
    taped, episodes = episodes_of(rollout, Tape.GRADIENT), episodes_of(rollout)
    sums: Counter[str] = Counter()
    policy = _PolicySteps(networks, settings, step, sums, frozen=step < first_of_policy(networks, settings))
    value_updates = 0
    for epoch in range(settings.epochs):
        order = shuffled(len(episodes), seed, "minibatches", step, epoch)
        for part in _split(order, settings.minibatches):
            rows, place = [episodes[index] for index in part], f"step {step + 1}, pass {epoch + 1}"
            if epoch == 0 and settings.minibatches == 1:
                # In the order in which they were measured, so that micro-batches and taped graphs are the same.
                rows = taped
            place = f"{settings.algorithm.value.upper()} {place}"
            if networks.critic is not None:
                _value_step(networks.critic, networks.centre, rows, settings, (step, f"{place}, value"), sums)
                value_updates += 1
            policy.learn(rows, f"{place}, policy")
    return {
        **{name: sums[name] / policy.updates if policy.updates else None for name in OF_POLICY},
        **{name: sums[name] / value_updates if value_updates else None for name in OF_VALUE},
        "first_ratio_error": policy.first_error,
        "policy_updates": policy.updates,
    }


def first_of_policy(networks: Networks, settings: ReinforcementSettings) -> int:
    """The first step (from 0) in which the policy learns."""
    return settings.value_warmup_steps if networks.critic is not None else 0


@dataclass(slots=True)
class _PolicySteps:
    """Updates of the policy on one rollout, until it has moved too far."""

    networks: Networks
    settings: ReinforcementSettings
    step: int
    sums: Counter[str]
    frozen: bool
    updates: int = 0
    first_error: float | None = None

    def learn(self, rows: Sequence[Episode], place: str) -> None:
        """One optimiser step on `rows`."""
        if self.frozen:
            return
        settings, learner = self.settings, self.networks.learner
        objective = PolicyObjective(
            self.networks.policy,
            settings.clip_ratio,
            settings.sampling.temperature,
            settings.dual_clip,
            settings.loss_aggregation,
        )
        totals, _ = accumulate(learner, objective, rows, settings.micro_batch_tokens, place)
        tokens = _tokens(rows)
        error = totals.counts["ratio_error"] / tokens
        if self.first_error is None:
            self.first_error = _checked_ratio(error, settings.precision, place)
        if settings.target_kl is not None and totals.counts["moved"] / tokens > settings.target_kl:
            learner.discard()
            self.frozen = True
            return
        since = self.step - first_of_policy(self.networks, settings)
        rate = risen(settings.learning_rate, since, settings.warmup_steps)
        norm = learner.step(rate, place, (row.row_id for row in rows))
        clipped = totals.counts["clipped"] / tokens
        figures = {"policy_loss": totals.loss, "policy_gradient_norm": norm, "clip_fraction": clipped}
        self.sums.update(figures)
        self.updates += 1


def _value_step(
    critic: ValueModel,
    centre: float,
    rows: Sequence[Episode],
    settings: ReinforcementSettings,
    at: tuple[int, str],
    sums: Counter[str],
) -> None:
    """One optimiser step of the value function on `rows`."""
    step, place = at
    objective = ValueObjective(critic.model, settings.clip_value, centre)
    totals, _ = accumulate(critic.learner, objective, rows, settings.micro_batch_tokens, place)
    rate = risen(settings.value_learning_rate, step, settings.warmup_steps)
    norm = critic.learner.step(rate, place, (row.row_id for row in rows))
    sums.update({"value_loss": totals.loss, "value_gradient_norm": norm})


def _split(order: Sequence[int], parts: int) -> list[Sequence[int]]:
    """At most `parts` pieces of nearly equal size, none empty."""
    edges = [len(order) * part // parts for part in range(parts + 1)]
    return [order[start:end] for start, end in itertools.pairwise(edges) if end > start]


def _checked_ratio(error: float, precision: Precision, place: str) -> float:
    """Check that before the first update the policy is the one that was measured; anything else is a bug."""
    exact = precision is Precision.FLOAT32 and torch.get_float32_matmul_precision() == "highest"
    tolerance = RATIO_TOLERANCE if exact else RATIO_TOLERANCE_REDUCED
    if not math.isfinite(error) or error > tolerance:
        raise StageError(
            f"before any update the policy's ratio to itself is off by {error:.2g} on average",
            place=place,
            remedy="Try --set rl.precision=float32 --set engine.matmul=highest in a new run; if it stays, "
            "please report it",
        )
    return error
