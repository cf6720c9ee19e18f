"""Estimators of advantages: what PPO and RLOO do differently with the same rollout.

Both are paid alike, the score on the last token and the KL penalty on every one. Generalised advantage estimation
compares what came with what a value function expected at each token; leave-one-out compares a whole reply with the
others to its prompt, and needs no value function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from solon.config.recipe import Algorithm, ReinforcementSettings
from solon.errors import RecipeError
from solon.training.losses import advantages, leave_one_out, whiten


@dataclass(frozen=True, slots=True)
class Paid:
    """What replies were paid, token by token: tensors (B, T); `groups` names the draw that each reply answers."""

    reward_BT: Tensor
    mask_BT: Tensor
    groups: Sequence[str]
    value_BT: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Advantages for the policy and, where there is a value function, the returns that it is to learn; (B, T)."""

    advantage_BT: Tensor
    return_BT: Tensor | None


AdvantageEstimator = Callable[[Paid, ReinforcementSettings], Estimate]


def generalised(paid: Paid, settings: ReinforcementSettings) -> Estimate:
    """Whitened advantages with `trace`, and returns with `trace_value` where that is another number."""
    if paid.value_BT is None:
        raise ValueError("generalised advantage estimation needs the values of a value function")
    given = (paid.reward_BT, paid.value_BT, paid.mask_BT, settings.gamma)
    advantage_BT, return_BT = advantages(*given, settings.gae_lambda)
    if settings.gae_lambda_value is not None:
        _, return_BT = advantages(*given, settings.gae_lambda_value)
    return Estimate(whiten(advantage_BT, paid.mask_BT), return_BT)


def against_the_others(paid: Paid, settings: ReinforcementSettings) -> Estimate:
    """Each reply's whole pay less the mean of the others to its prompt, the same at each of its tokens.

    Nothing is discounted and nothing whitened, as published.
    """
    advantage_B = leave_one_out(paid.reward_BT.sum(1), paid.groups)
    return Estimate(advantage_B.unsqueeze(1) * paid.mask_BT, None)


ESTIMATORS: Mapping[Algorithm, AdvantageEstimator] = {
    Algorithm.PPO: generalised,
    Algorithm.RLOO: against_the_others,
}


def refuse_missing_samples(settings: ReinforcementSettings) -> None:
    """Raises RecipeError for RLOO with one reply to a prompt, which leaves none to compare it with."""
    if settings.algorithm is Algorithm.RLOO and settings.samples_per_prompt < 2:
        raise RecipeError(
            f"RLOO compares the replies to one prompt, and rl.samples_per_prompt is {settings.samples_per_prompt}",
            place="rl.algorithm",
            remedy="Use --set rl.samples_per_prompt=2, or more",
        )
