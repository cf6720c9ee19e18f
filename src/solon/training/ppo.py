"""Proximal policy optimisation against a preference model (paper, section 4.1; Schulman et al. 2017).

One step: sample replies, score them, measure them with the passes that training uses, spread score and KL penalty over
the tokens, estimate advantages, and go over the replies a few times in reshuffled minibatches with clipped losses. The
policy and the value function are separate networks with optimisers of their own; the value function starts from the
preference model and learns alone for the first steps. All randomness is a function of (seed, step), so a killed run
goes on from its newest checkpoint to the same weights.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from solon.errors import StageError
from solon.recipe import ReinforcementSettings
from solon.training.batches import shuffled
from solon.training.checkpoint import Snapshot
from solon.training.core import Log, Objective, Session, accumulate
from solon.training.forward import ScalarModel, TokenModel
from solon.training.learner import Learner, Totals
from solon.training.losses import (
    advantages,
    explained_variance,
    kl_k1,
    kl_k3,
    policy_loss,
    token_logprobs,
    token_rewards,
    value_loss,
    whiten,
)
from solon.training.rollout import Reply, batch_of, measure_behaviour, measure_logprobs, measure_values, response_mask

KL_STOP = 1.5 * 0.1
"""Nats per token between the policy and the one that sampled, beyond which a rollout has been used up."""
RATIO_TOLERANCE, RATIO_TOLERANCE_MEDIUM = 1e-3, 3e-2
"""How far the mean ratio may be from 1 before the first update: rounding, under exact or reduced matrix products."""


@dataclass(frozen=True, slots=True)
class Actors:
    """The networks of one run; `as_reference` turns `reference` into the SL-CAI model (an adapter switched off)."""

    policy: TokenModel
    reference: TokenModel
    value: ScalarModel
    policy_learner: Learner
    value_learner: Learner
    centre: float
    as_reference: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(frozen=True, slots=True)
class Rollout:
    """Replies with all that was measured on them; tensors are (B, T) by response token, or (B)."""

    replies: Sequence[Reply]
    mask_BT: Tensor
    score_B: Tensor
    """Centred, before the penalty."""
    reward_B: Tensor
    """What the last token is paid."""
    behaviour_BT: Tensor
    reference_BT: Tensor
    entropy_BT: Tensor
    value_BT: Tensor
    advantage_BT: Tensor
    return_BT: Tensor


@dataclass(frozen=True, slots=True)
class Episode:
    """One reply as the updates see it; tensors are (T) over its own tokens."""

    reply: Reply
    behaviour_T: Tensor
    value_T: Tensor
    advantage_T: Tensor
    return_T: Tensor

    @property
    def row_id(self) -> str:
        """The prompt's row."""
        return self.reply.row_id

    @property
    def length(self) -> int:
        """Tokens of prompt and response."""
        return self.reply.length


def _tokens(rows: Sequence[Episode]) -> float:
    return float(sum(len(row.reply.response) for row in rows))


@dataclass(frozen=True, slots=True)
class PolicyObjective:
    """The clipped surrogate, averaged over tokens."""

    model: TokenModel
    clip: float
    temperature: float
    width: int = 1

    def size(self, rows: Sequence[Episode]) -> float:
        """Response tokens."""
        return _tokens(rows)

    def loss(self, rows: Sequence[Episode]) -> tuple[Tensor, Mapping[str, float]]:
        """The summed loss, and sums of what tells how far the policy has moved since it sampled."""
        ids_BT, mask_BT = batch_of([row.reply for row in rows], self.model.device)
        logprob_N = token_logprobs(self.model.logits(ids_BT, mask_BT) / self.temperature, ids_BT[mask_BT])
        behaviour_N = torch.cat([row.behaviour_T for row in rows]).to(logprob_N.device)
        advantage_N = torch.cat([row.advantage_T for row in rows]).to(logprob_N.device)
        clipped = policy_loss(logprob_N, behaviour_N, advantage_N, self.clip)
        moved_N = kl_k3(behaviour_N, logprob_N.detach())
        return clipped.loss_N.sum(), {
            "clipped": float(clipped.clipped_N.sum()),
            "ratio_error": float((clipped.ratio_N - 1).abs().sum()),
            "moved": float(moved_N.sum()),
        }


@dataclass(frozen=True, slots=True)
class ValueObjective:
    """The clipped squared error of the value function, averaged over tokens."""

    model: ScalarModel
    clip: float
    centre: float
    width: int = 1

    def size(self, rows: Sequence[Episode]) -> float:
        """Response tokens."""
        return _tokens(rows)

    def loss(self, rows: Sequence[Episode]) -> tuple[Tensor, Mapping[str, float]]:
        """The summed loss."""
        ids_BT, mask_BT = batch_of([row.reply for row in rows], self.model.device)
        value_N = self.model.values(ids_BT, mask_BT) - self.centre
        old_N = torch.cat([row.value_T for row in rows]).to(value_N.device)
        return_N = torch.cat([row.return_T for row in rows]).to(value_N.device)
        return value_loss(value_N, old_N, return_N, self.clip).sum(), {}


@dataclass(slots=True)
class Stopwatch:
    """Seconds by kind of work, over all sessions; kept beside the metrics, which hold nothing that time changes."""

    seconds: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.monotonic)

    def lap(self, name: str) -> None:
        """Count the time since the last lap as `name`."""
        now = time.monotonic()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


Sample = Callable[[int], Sequence[Reply]]
Score = Callable[[Sequence[Reply]], Tensor]


def reinforce(
    actors: Actors, sample: Sample, score: Score, settings: ReinforcementSettings, seed: int, session: Session
) -> tuple[Log, Stopwatch]:
    """Train the policy, going on from the newest checkpoint.

    `sample(step)` gives the replies of step `step` (from 0) by the present policy, and `score(replies)` the preference
    model's scores, not centred, shape (B). Raises StageError when a step has no replies, when a loss or gradient is not
    finite, or when training computes other log-probabilities than were measured.
    """
    log, watch, first = _resume(actors, session)
    for step in range(first, settings.steps):
        replies = sample(step)
        watch.lap("sample")
        if not replies:
            raise StageError("no reply of this step can be scored: all are empty", place=f"PPO step {step + 1}")
        score_B = score(replies) - actors.centre
        watch.lap("score")
        rollout = measure(actors, replies, score_B, settings)
        watch.lap("measure")
        updated = update(actors, rollout, settings, step, seed)
        watch.lap("update")
        log.rows.append({"step": step + 1, **describe(rollout), **updated})
        log.seconds = sum(watch.seconds.values())
        if session.due(step + 1, settings.checkpoint_every):
            session.checkpoints.save(_snapshot(actors, step + 1, log, watch))
        note = f"score {log.rows[-1]['score']:+.2f}, KL {log.rows[-1]['kl']:.2f}"
        session.progress(step + 1, settings.steps, note)
    return log, watch


def measure(actors: Actors, replies: Sequence[Reply], score_B: Tensor, settings: ReinforcementSettings) -> Rollout:
    """Log-probabilities, values, rewards and whitened advantages of the replies; `score_B` is centred."""
    temperature, micro_tokens = settings.drawing.temperature, settings.micro_tokens
    mask_BT = response_mask(replies)
    behaviour_BT, entropy_BT = measure_behaviour(actors.policy, replies, temperature, micro_tokens)
    with actors.as_reference():
        reference_BT = measure_logprobs(actors.reference, replies, temperature, micro_tokens)
    value_BT = measure_values(actors.value, replies, actors.centre, micro_tokens)
    unfinished_B = torch.tensor([not reply.finished for reply in replies])
    reward_B = score_B - settings.unfinished_penalty * unfinished_B
    reward_BT = token_rewards(reward_B, behaviour_BT, reference_BT, mask_BT, settings.kl)
    advantage_BT, return_BT = advantages(reward_BT, value_BT, mask_BT, settings.discount, settings.trace)
    return Rollout(
        replies=replies,
        mask_BT=mask_BT,
        score_B=score_B,
        reward_B=reward_B,
        behaviour_BT=behaviour_BT,
        reference_BT=reference_BT,
        entropy_BT=entropy_BT,
        value_BT=value_BT,
        advantage_BT=whiten(advantage_BT, mask_BT),
        return_BT=return_BT,
    )


def update(
    actors: Actors, rollout: Rollout, settings: ReinforcementSettings, step: int, seed: int
) -> dict[str, float | int | None]:
    """Go over the rollout `epochs` times in reshuffled minibatches; the means of what was met on the way.

    The policy rests during the value function's first steps, and for the rest of the rollout once it has moved too far.
    """
    episodes = _episodes(rollout)
    policy = PolicyObjective(actors.policy, settings.clip_ratio, settings.drawing.temperature)
    value = ValueObjective(actors.value, settings.clip_value, actors.centre)
    met: Counter[str] = Counter()
    learning, updates, value_updates = step >= settings.value_warmup, 0, 0
    first_error: float | None = None
    for epoch in range(settings.epochs):
        order = shuffled(len(episodes), seed, "minibatches", step, epoch)
        for part in _split(order, settings.minibatches):
            rows, place = [episodes[index] for index in part], f"PPO step {step + 1}, pass {epoch + 1}"
            totals, _, norm = _descend(
                actors.value_learner,
                value,
                rows,
                settings.value_learning_rate,
                settings.micro_tokens,
                f"{place}, value",
            )
            _count(met, {"value_loss": totals.loss, "value_gradient_norm": norm})
            value_updates += 1
            if not learning:
                continue
            totals, size = accumulate(actors.policy_learner, policy, rows, settings.micro_tokens, f"{place}, policy")
            error = totals.counts["ratio_error"] / size
            if first_error is None:
                first_error = _checked_ratio(error, place)
            if totals.counts["moved"] / size > KL_STOP:
                actors.policy_learner.discard()
                learning = False
                continue
            norm = actors.policy_learner.step(settings.learning_rate, f"{place}, policy", (row.row_id for row in rows))
            clipped = totals.counts["clipped"] / size
            _count(met, {"policy_loss": totals.loss, "policy_gradient_norm": norm, "clip_fraction": clipped})
            updates += 1
    of_policy = ("policy_loss", "policy_gradient_norm", "clip_fraction")
    return {
        **{name: met[name] / updates if updates else None for name in of_policy},
        **{name: met[name] / value_updates for name in ("value_loss", "value_gradient_norm")},
        "first_ratio_error": first_error,
        "policy_updates": updates,
    }


def describe(rollout: Rollout) -> dict[str, float | int]:
    """What is to be said of a rollout before anything is learned from it."""
    mask_BT, replies = rollout.mask_BT, rollout.replies
    k1_BT = kl_k1(rollout.behaviour_BT, rollout.reference_BT)
    k3_BT = kl_k3(rollout.behaviour_BT, rollout.reference_BT)
    by_kind = {
        f"score_{kind}": float(rollout.score_B[[reply.kind == kind for reply in replies]].mean())
        for kind in sorted({reply.kind for reply in replies})
    }
    return {
        "score": float(rollout.score_B.mean()),
        "score_deviation": float(rollout.score_B.std(correction=0)),
        **by_kind,
        "reward": float(rollout.reward_B.mean()),
        "kl": float(k1_BT.sum(1).mean()),
        "kl_k3": float(k3_BT.sum(1).mean()),
        "entropy": float(rollout.entropy_BT[mask_BT].mean()),
        "length": float(mask_BT.sum(1).float().mean()),
        "unfinished": sum(not reply.finished for reply in replies) / len(replies),
        "empty": sum(not reply.text for reply in replies) / len(replies),
        "replies": len(replies),
        "explained_variance": explained_variance(rollout.value_BT[mask_BT], rollout.return_BT[mask_BT]),
    }


def _descend(
    learner: Learner, objective: Objective[Episode], rows: Sequence[Episode], rate: float, micro_tokens: int, place: str
) -> tuple[Totals, float, float]:
    """One optimiser step on `rows`; the sums, their divisor, and the gradient's norm."""
    totals, size = accumulate(learner, objective, rows, micro_tokens, place)
    return totals, size, learner.step(rate, place, (row.row_id for row in rows))


def _count(met: Counter[str], figures: Mapping[str, float]) -> None:
    for name, figure in figures.items():
        met[name] += figure  # type: ignore[assignment]  # a Counter adds floats as well


def _episodes(rollout: Rollout) -> list[Episode]:
    return [
        Episode(
            reply,
            rollout.behaviour_BT[row, : len(reply.response)],
            rollout.value_BT[row, : len(reply.response)],
            rollout.advantage_BT[row, : len(reply.response)],
            rollout.return_BT[row, : len(reply.response)],
        )
        for row, reply in enumerate(rollout.replies)
    ]


def _split(order: Sequence[int], parts: int) -> list[Sequence[int]]:
    """At most `parts` pieces of nearly equal size, none empty."""
    edges = [len(order) * part // parts for part in range(parts + 1)]
    return [order[start:end] for start, end in itertools.pairwise(edges) if end > start]


def _checked_ratio(error: float, place: str) -> float:
    """Before the first update the policy is the one that sampled; anything else is a fault of the program."""
    exact = torch.get_float32_matmul_precision() == "highest"
    tolerance = RATIO_TOLERANCE if exact else RATIO_TOLERANCE_MEDIUM
    if not math.isfinite(error) or error > tolerance:
        raise StageError(
            f"before any update the policy's ratio to itself is off by {error:.2g} on average",
            place=place,
            remedy="Try --set engine.matmul=highest in a new run; if it stays, please report it",
        )
    return error


def _snapshot(actors: Actors, step: int, log: Log, watch: Stopwatch) -> Snapshot:
    tensors = {
        "policy": actors.policy_learner.weights(),
        "policy_moments": actors.policy_learner.moments(),
        "value": actors.value_learner.weights(),
        "value_moments": actors.value_learner.moments(),
    }
    return Snapshot(step, tensors, {"metrics": log.rows, "seconds": watch.seconds})


def _resume(actors: Actors, session: Session) -> tuple[Log, Stopwatch, int]:
    snapshot = session.checkpoints.newest()
    if snapshot is None:
        return Log(), Stopwatch(), 0
    actors.policy_learner.restore(snapshot.tensors["policy"], snapshot.tensors["policy_moments"])
    actors.value_learner.restore(snapshot.tensors["value"], snapshot.tensors["value_moments"])
    watch = Stopwatch(dict(snapshot.state["seconds"]))
    return Log(list(snapshot.state["metrics"]), sum(watch.seconds.values())), watch, snapshot.step
