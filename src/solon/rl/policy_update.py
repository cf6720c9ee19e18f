"""The update on one rollout: a few passes in reshuffled minibatches with clipped losses (Schulman et al. 2017).

Policy and value function have separate optimisers. They are separate networks with a pass each, or the policy has a
value head, and one pass gives the gradients of both. The policy is not updated while the value function warms up, nor
for the rest of a rollout after its KL exceeds `rl.target_kl`. An update whose numbers do not stay finite leaves the
policy as it was before the rollout.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from solon.config.recipe import Precision, ReinforcementSettings
from solon.errors import DivergedError, StageError
from solon.rl.episodes import Episode, Networks, PolicyValueHead, Rollout, ValueModel, episodes_of
from solon.rl.rollout import AutogradGraph
from solon.rl.update_objectives import JointObjective, PolicyObjective, ValueObjective, tokens_of
from solon.training.batches import shuffled
from solon.training.learner import Totals, linear_warmup
from solon.training.loop import accumulate

RATIO_TOLERANCE, RATIO_TOLERANCE_REDUCED = 1e-3, 3e-2
"""How far the mean ratio may be from 1 before the first update: rounding, under exact or reduced matrix products."""
OF_POLICY = ("policy_loss", "policy_gradient_norm", "clip_fraction")
OF_VALUE = ("value_loss", "value_gradient_norm")


def update(
    networks: Networks, rollout: Rollout, settings: ReinforcementSettings, step: int, seed: int
) -> dict[str, float | int | None]:
    """Pass over the rollout `epochs` times in reshuffled minibatches; returns the means of the metrics.

    Raises DivergedError when a loss or gradient is not finite, with the policy's weights as they were before the call,
    and StageError when training computes other log-probabilities than were measured.
    """
    sums: Counter[str] = Counter()
    policy = _PolicySteps(networks, settings, step, sums, frozen=step < first_of_policy(networks, settings))
    try:
        value_updates = _passes(policy, rollout, seed)
    except DivergedError:
        policy.undo()
        raise
    return {
        **{name: sums[name] / policy.updates if policy.updates else None for name in OF_POLICY},
        **{name: sums[name] / value_updates if value_updates else None for name in OF_VALUE},
        "first_ratio_error": policy.first_error,
        "policy_updates": policy.updates,
    }


def _passes(policy: _PolicySteps, rollout: Rollout, seed: int) -> int:
    """All passes over the rollout; returns the number of updates of the value function."""
    networks, settings, step, value_updates = policy.networks, policy.settings, policy.step, 0
    with_grad, episodes = episodes_of(rollout, AutogradGraph.KEPT), episodes_of(rollout)
    for epoch in range(settings.epochs):
        order = shuffled(len(episodes), seed, "minibatches", step, epoch)
        for part in _split(order, settings.minibatches):
            rows, place = [episodes[index] for index in part], f"step {step + 1}, pass {epoch + 1}"
            if epoch == 0 and settings.minibatches == 1:
                # In the order in which they were measured, so that micro-batches and kept graphs are the same.
                rows = with_grad
            place = f"{settings.algorithm.value.upper()} {place}"
            value_updates += networks.critic is not None
            if isinstance(networks.critic, PolicyValueHead):
                policy.learn_with_values(networks.critic, rows, place)
                continue
            if networks.critic is not None:
                _value_step(networks.critic, networks.centre, rows, settings, (step, f"{place}, value"), policy.sums)
            policy.learn(rows, f"{place}, policy")
    return value_updates


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
    before: Mapping[str, Tensor] | None = None
    """The policy's weights before its first update; None where nothing can fail after it."""

    def undo(self) -> None:
        """Set the policy back to what it was before the rollout."""
        if self.before is not None:
            self.networks.learner.load_local_state(self.before)

    def learn(self, rows: Sequence[Episode], place: str) -> None:
        """One optimiser step on `rows`."""
        if self.frozen:
            return
        totals, _ = accumulate(self.networks.learner, self._objective(), rows, self.settings.micro_batch_tokens, place)
        self._step(rows, totals, totals.loss, place)

    def learn_with_values(self, head: PolicyValueHead, rows: Sequence[Episode], place: str) -> None:
        """One optimiser step of policy and value head on `rows`; while the policy rests, of the head alone."""
        micro_tokens, tokens = self.settings.micro_batch_tokens, tokens_of(rows)
        if self.frozen:
            # A kept graph leads into the backbone.
            rows = [replace(row, logprob_with_grad_T=None, value_with_grad_T=None) for row in rows]
            alone = ValueObjective(self.networks.policy, self.settings.clip_value, centre=0.0)
            place = f"{place}, value"
            value_loss = accumulate(head.learner, alone, rows, micro_tokens, place)[0].loss
        else:
            objective = self._objective()
            joint = JointObjective(objective, self.settings.clip_value, objective.size(rows) / tokens)
            place = f"{place}, policy and value"
            totals, size = accumulate(self.networks.learner, joint, rows, micro_tokens, place)
            head.learner.add_gradients()
            self._step(rows, totals, totals.counts["policy_loss"] / size, place)
            value_loss = totals.counts["value_loss"] / tokens
        rate = linear_warmup(self.settings.value_learning_rate, self.step, self.settings.warmup_steps)
        norm = head.learner.step(rate, place, (row.row_id for row in rows))
        self.sums.update({"value_loss": value_loss, "value_gradient_norm": norm})

    def _objective(self) -> PolicyObjective:
        settings = self.settings
        return PolicyObjective(
            self.networks.policy,
            settings.clip_ratio,
            settings.sampling.temperature,
            settings.dual_clip,
            settings.loss_aggregation,
        )

    def _step(self, rows: Sequence[Episode], totals: Totals, loss: float, place: str) -> None:
        """Take the step, or none when the policy has moved too far."""
        settings, learner, tokens = self.settings, self.networks.learner, tokens_of(rows)
        error = totals.counts["ratio_error"] / tokens
        if self.first_error is None:
            self.first_error = _checked_ratio(error, settings.precision, place)
        if settings.target_kl is not None and totals.counts["moved"] / tokens > settings.target_kl:
            learner.discard()
            self.frozen = True
            return
        since = self.step - first_of_policy(self.networks, settings)
        rate = linear_warmup(settings.learning_rate, since, settings.warmup_steps)
        if not self.updates and self._may_fail_later():
            self.before = learner.local_state()
        norm = learner.step(rate, place, (row.row_id for row in rows))
        clipped = totals.counts["clipped"] / tokens
        self.sums.update({"policy_loss": loss, "policy_gradient_norm": norm, "clip_fraction": clipped})
        self.updates += 1

    def _may_fail_later(self) -> bool:
        """Whether another optimiser step follows the policy's first one, of the policy or of its value head."""
        several = self.settings.epochs * self.settings.minibatches > 1
        return several or isinstance(self.networks.critic, PolicyValueHead)


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
    rate = linear_warmup(settings.value_learning_rate, step, settings.warmup_steps)
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
