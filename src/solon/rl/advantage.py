"""Advantage estimators: the difference between PPO and RLOO.

Both get the same rewards: the score on the last token and the KL penalty on every token. Generalised advantage
estimation compares rewards with the predictions of a value function at each token. Leave-one-out compares a whole reply
with the other replies to its prompt, and needs no value function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from solon.config.recipe import Algorithm, ReinforcementSettings
from solon.errors import RecipeError
from solon.training.losses import generalised_advantages, leave_one_out, whiten


@dataclass(frozen=True, slots=True)
class TokenRewards:
    """Rewards per token as tensors (B, T); replies of the same group answer the same draw of a prompt."""

    reward_BT: Tensor
    mask_BT: Tensor
    groups: Sequence[str]
    value_BT: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Advantages for the policy and, where there is a value function, the returns it learns; (B, T)."""

    advantage_BT: Tensor
    return_BT: Tensor | None


AdvantageEstimator = Callable[[TokenRewards, ReinforcementSettings], Estimate]


def gae(rewards: TokenRewards, settings: ReinforcementSettings) -> Estimate:
    """Whitened advantages with `gae_lambda`, and returns with `gae_lambda_value` if it is set."""
    if rewards.value_BT is None:
        raise ValueError("generalised advantage estimation needs the values of a value function")
    given = (rewards.reward_BT, rewards.value_BT, rewards.mask_BT, settings.gamma)
    advantage_BT, return_BT = generalised_advantages(*given, settings.gae_lambda)
    if settings.gae_lambda_value is not None:
        _, return_BT = generalised_advantages(*given, settings.gae_lambda_value)
    return Estimate(whiten(advantage_BT, rewards.mask_BT), return_BT)


def rloo(rewards: TokenRewards, settings: ReinforcementSettings) -> Estimate:
    """Each reply's total reward minus the mean of the other replies to its prompt, the same at each token.

    Without discount or whitening, as published.
    """
    advantage_B = leave_one_out(rewards.reward_BT.sum(1), rewards.groups)
    return Estimate(advantage_B.unsqueeze(1) * rewards.mask_BT, None)


ESTIMATORS: Mapping[Algorithm, AdvantageEstimator] = {
    Algorithm.PPO: gae,
    Algorithm.RLOO: rloo,
}


def refuse_missing_samples(settings: ReinforcementSettings) -> None:
    """Raises RecipeError for RLOO with a single reply per prompt: there is no other to compare it with."""
    if settings.algorithm is Algorithm.RLOO and settings.samples_per_prompt < 2:
        raise RecipeError(
            f"RLOO compares the replies to one prompt, and rl.samples_per_prompt is {settings.samples_per_prompt}",
            place="rl.algorithm",
            remedy="Use --set rl.samples_per_prompt=2, or more",
        )
