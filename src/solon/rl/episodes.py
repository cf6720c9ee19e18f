"""One step of reinforcement learning as tensors: replies and all measurements before the update.

The forward passes of training measure behaviour and reference log-probabilities and values. Score and KL penalty become
rewards per token, and an estimator turns them into advantages. PPO and RLOO share this module: they differ in the
estimator, and RLOO has no value function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from solon.config.recipe import ReinforcementSettings
from solon.rl.advantage import ESTIMATORS, TokenRewards
from solon.rl.monitors import monitored
from solon.rl.rollout import (
    AutogradGraph,
    MeasuredReplies,
    Reply,
    by_share,
    measure_behaviour,
    measure_behaviour_and_values,
    measure_logprobs,
    measure_values,
    response_mask,
)
from solon.training.forward import ScalarModel, TokenModel
from solon.training.learner import Learner
from solon.training.losses import explained_variance, kl_k1, kl_k3, token_rewards


@dataclass(frozen=True, slots=True)
class ValueModel:
    """The value function with its optimiser; it starts from the preference model."""

    model: ScalarModel
    learner: Learner


@dataclass(frozen=True, slots=True)
class PolicyValueHead:
    """The value function as the policy's value head, with its own optimiser; its values are centred from the start."""

    learner: Learner


@dataclass(frozen=True, slots=True)
class Networks:
    """The networks of one run; `as_reference` turns `reference` into the SL-CAI model (an adapter switched off)."""

    policy: TokenModel
    reference: TokenModel
    learner: Learner
    """The policy's."""
    critic: ValueModel | PolicyValueHead | None
    """None for an estimator that needs no values."""
    centre: float
    """Subtracted from the values of a value function that starts as a preference model, which is not centred."""
    as_reference: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(frozen=True, slots=True)
class Rollout:
    """Replies with all measurements; tensors are (B, T) by response token, or (B).

    Every reply has a text. `empty` counts the step's replies without one: they are not scored, not part of any baseline
    or mean, and the policy does not learn from them.
    """

    replies: Sequence[Reply]
    mask_BT: Tensor
    score_B: Tensor
    """Centred, before the penalty."""
    reward_B: Tensor
    """Score minus penalty: the reward of the last token."""
    behaviour_BT: Tensor
    reference_BT: Tensor
    entropy_BT: Tensor
    advantage_BT: Tensor
    value_BT: Tensor | None
    return_BT: Tensor | None
    held_out_B: Tensor | None = None
    """Centred scores of the preference model that the policy does not learn from."""
    logprob_with_grad: tuple[Tensor, ...] | None = None
    value_with_grad: tuple[Tensor, ...] | None = None
    """Measurements with gradient, per reply; None where the update computes them itself."""
    empty: int = 0

    @property
    def kl_B(self) -> Tensor:
        """Nats to SL-CAI of each reply, estimated by k1."""
        return kl_k1(self.behaviour_BT, self.reference_BT).sum(1)


@dataclass(frozen=True, slots=True)
class Episode:
    """One reply as the updates see it; tensors are (T) over its own tokens."""

    reply: Reply
    behaviour_T: Tensor
    advantage_T: Tensor
    value_T: Tensor | None
    return_T: Tensor | None
    logprob_with_grad_T: Tensor | None = None
    value_with_grad_T: Tensor | None = None
    """Measurements with gradient, for one backward pass before the first optimiser step."""

    @property
    def row_id(self) -> str:
        """The prompt's row."""
        return self.reply.row_id

    @property
    def length(self) -> int:
        """Tokens of prompt and response."""
        return self.reply.length

    @property
    def tokens(self) -> int:
        """Tokens read in a pass; equals `length`, as there is one sequence."""
        return self.reply.length


def measure(
    networks: Networks,
    replies: Sequence[Reply],
    score_B: Tensor,
    settings: ReinforcementSettings,
    kl_coefficient: float | None = None,
) -> Rollout:
    """Log-probabilities, values, rewards and advantages of the replies; `score_B` is centred.

    Without `kl_coefficient`, that of the settings.
    """
    temperature, micro_tokens = settings.sampling.temperature, settings.micro_batch_tokens
    mask_BT = response_mask(replies)
    graph = _graph(networks, replies, settings)
    processes = networks.learner.processes
    whole = partial(by_share, processes, replies)
    with_grad: dict[str, tuple[Tensor, ...] | None] = {}

    def kept(name: str, measured: MeasuredReplies) -> Tensor:
        with_grad[name] = measured.with_grad
        return measured.figure_BT

    def behaviour(some: Sequence[Reply]) -> tuple[Tensor, ...]:
        given = (networks.policy, some, temperature, micro_tokens, processes, graph)
        if isinstance(networks.critic, PolicyValueHead):
            measured, entropy_BT, values = measure_behaviour_and_values(*given)
            return kept("behaviour", measured), entropy_BT, kept("value", values)
        measured, entropy_BT = measure_behaviour(*given)
        return kept("behaviour", measured), entropy_BT

    behaviour_BT, entropy_BT, *of_head = whole(behaviour)
    with networks.as_reference():
        (reference_BT,) = whole(
            lambda some: [measure_logprobs(networks.reference, some, temperature, micro_tokens, processes)]
        )
    value_BT = of_head[0] if of_head else None
    if isinstance(critic := networks.critic, ValueModel):

        def values(some: Sequence[Reply]) -> tuple[Tensor]:
            measured = measure_values(critic.model, some, networks.centre, micro_tokens, processes, graph)
            return (kept("value", measured),)

        (value_BT,) = whole(values)
    unfinished_B = torch.tensor([not reply.finished for reply in replies])
    reward_B = score_B - settings.missing_eos_penalty * unfinished_B
    coefficient = settings.kl_coef if kl_coefficient is None else kl_coefficient
    reward_BT = token_rewards(reward_B, behaviour_BT, reference_BT, mask_BT, coefficient, settings.clip_score)
    rewards = TokenRewards(reward_BT, mask_BT, [reply.group for reply in replies], value_BT)
    estimate = ESTIMATORS[settings.algorithm](rewards, settings)
    return Rollout(
        replies=replies,
        mask_BT=mask_BT,
        score_B=score_B,
        reward_B=reward_B,
        behaviour_BT=behaviour_BT,
        reference_BT=reference_BT,
        entropy_BT=entropy_BT,
        advantage_BT=estimate.advantage_BT,
        value_BT=value_BT,
        return_BT=estimate.return_BT,
        logprob_with_grad=with_grad.get("behaviour"),
        value_with_grad=with_grad.get("value"),
    )


def _graph(networks: Networks, replies: Sequence[Reply], settings: ReinforcementSettings) -> AutogradGraph:
    """Keep gradients when one update takes all replies and the graphs of all networks fit into one micro-batch.

    With several processes the graph of a reply may be in another process than its update.
    """
    if settings.minibatches > 1 or networks.learner.processes.count > 1:
        return AutogradGraph.DISCARDED
    count = 2 if isinstance(networks.critic, ValueModel) else 1
    padded = len(replies) * max(reply.length for reply in replies)
    return AutogradGraph.KEPT if count * padded <= settings.micro_batch_tokens else AutogradGraph.DISCARDED


def episodes_of(rollout: Rollout, graph: AutogradGraph = AutogradGraph.DISCARDED) -> list[Episode]:
    """The rollout as episodes, without padding; with `AutogradGraph.KEPT` the measurements have their gradient."""

    def own(tensor_BT: Tensor | None, row: int) -> Tensor | None:
        return None if tensor_BT is None else tensor_BT[row, : len(rollout.replies[row].response)]

    kept = graph is AutogradGraph.KEPT
    logprobs, values = (rollout.logprob_with_grad, rollout.value_with_grad) if kept else (None, None)
    return [
        Episode(
            reply,
            rollout.behaviour_BT[row, : len(reply.response)],
            rollout.advantage_BT[row, : len(reply.response)],
            own(rollout.value_BT, row),
            own(rollout.return_BT, row),
            logprobs[row] if logprobs else None,
            values[row] if values else None,
        )
        for row, reply in enumerate(rollout.replies)
    ]


def describe(rollout: Rollout) -> dict[str, float | int | None]:
    """Metrics of a rollout before the update."""
    mask_BT, replies = rollout.mask_BT, rollout.replies
    k3_BT = kl_k3(rollout.behaviour_BT, rollout.reference_BT)
    by_kind = {
        f"score_{kind}": float(rollout.score_B[[reply.kind == kind for reply in replies]].mean())
        for kind in sorted({reply.kind for reply in replies})
    }
    explained = None
    if rollout.value_BT is not None and rollout.return_BT is not None:
        explained = explained_variance(rollout.value_BT[mask_BT], rollout.return_BT[mask_BT])
    return {
        "score": float(rollout.score_B.mean()),
        "score_deviation": float(rollout.score_B.std(correction=0)),
        **by_kind,
        "held_out_score": None if rollout.held_out_B is None else float(rollout.held_out_B.mean()),
        "reward": float(rollout.reward_B.mean()),
        "kl": float(rollout.kl_B.mean()),
        "kl_k3": float(k3_BT.sum(1).mean()),
        "entropy": float(rollout.entropy_BT[mask_BT].mean()),
        "length": float(mask_BT.sum(1).float().mean()),
        "unfinished": sum(not reply.finished for reply in replies) / len(replies),
        "empty": rollout.empty / (len(replies) + rollout.empty),
        "replies": len(replies),
        "explained_variance": explained,
        **monitored([reply.text for reply in replies], mask_BT.sum(1).float(), rollout.score_B),
    }
