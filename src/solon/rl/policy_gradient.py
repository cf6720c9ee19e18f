"""Reinforcement learning from a preference model's scores (paper, section 4.1): the loop of PPO and of RLOO.

One step: sample replies, score them, measure them and update the networks (`episodes`, `policy_update`); then adapt the
KL coefficient, and check the rules that end a run. All randomness is a function of (seed, step), and a checkpoint holds
all state between steps, so a killed run resumes to the same weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from solon.config.recipe import Kept, KlControl, ReinforcementSettings
from solon.errors import DivergedError, StageError
from solon.rl.episodes import Networks, Rollout, describe, measure
from solon.rl.policy_update import first_of_policy, update
from solon.rl.rollout import Reply
from solon.rl.stopping import stop_reason
from solon.training.checkpoint import Checkpoint, restoring
from solon.training.loop import Log, TrainingSession, refuse_unequal
from solon.training.losses import adapted_kl


@dataclass(slots=True)
class Stopwatch:
    """Seconds by kind of work, over all sessions; separate from the metrics, which do not depend on time."""

    seconds: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.monotonic)

    def lap(self, name: str) -> None:
        """Count the time since the last lap as `name`."""
        now = time.monotonic()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


Sample = Callable[[int], Sequence[Reply]]
Score = Callable[[Sequence[Reply]], Tensor]


@dataclass(frozen=True, slots=True)
class Environment:
    """The functions that the training loop calls.

    `sample(step)` returns the present policy's replies of step `step` (from 0). `score(replies)` returns the centred
    scores (B) of replies with a text, from the preference model that the policy learns from; `held_out(replies)` those
    of another one. `on_rollout(step, rollout)` gets every rollout after its update, steps counted from 1.
    `snapshot(step)` saves the policy after that step; a repeated step saves it again.
    """

    sample: Sample
    score: Score
    held_out: Score | None = None
    on_rollout: Callable[[int, Rollout], None] | None = None
    snapshot: Callable[[int], None] | None = None


@dataclass(slots=True)
class Best:
    """The best policy so far: its step, its figure of merit and its weights."""

    step: int
    figure: float
    weights: Mapping[str, Tensor]


@dataclass(slots=True)
class TrainState:
    """The state of a run besides the networks: everything that its next step depends on."""

    kl_coefficient: float
    log: Log = field(default_factory=Log)
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    best: Best | None = None
    stopped_because: str | None = None

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.log.rows)

    @property
    def kept_step(self) -> int:
        """The step of the policy that is kept."""
        return self.best.step if self.best else self.step


class _AllEmpty(StageError):
    """Every reply of a step is empty."""


def reinforce(
    networks: Networks, environment: Environment, settings: ReinforcementSettings, seed: int, session: TrainingSession
) -> TrainState:
    """Train the policy from the newest checkpoint on; it ends as the policy that `settings.keep` selects.

    When a rule ends the run early, `stopped_because` says why. Raises StageError when training computes other
    log-probabilities than were measured, or when every reply of the first step is empty, and DivergedError when a
    number of the first step is not finite. In a later step, empty replies or such a number end the run with the policy
    before that step.
    """
    state = _resume(networks, settings, session)
    refuse_unequal(networks.learner.processes, state.step)
    session.metrics.begin(state.step)
    session.progress(state.step, settings.steps, "")
    while state.step < settings.steps:
        state.stopped_because = stop_reason(state.log.rows, settings.stop)
        if state.stopped_because:
            break
        try:
            _step(networks, environment, settings, state, seed)
        except (DivergedError, _AllEmpty) as error:
            if not state.step:
                raise
            state.stopped_because = f"{error.place}: {error.cause}"
            break
        session.metrics.add(state.log.rows[-1])
        if environment.snapshot and settings.snapshots and state.step % settings.snapshots == 0:
            environment.snapshot(state.step)  # before the checkpoint: a run resumed from it would not make it
        last = state.step == settings.steps or stop_reason(state.log.rows, settings.stop) is not None
        if session.due(state.step, settings.checkpoint_every, last=last):
            session.checkpoints.save(_checkpoint(networks, state))
        state.stopwatch.lap("save")
        session.progress(state.step, settings.steps, _note(state))
    if environment.snapshot and settings.snapshots and state.step % settings.snapshots:
        environment.snapshot(state.step)
    if state.best is not None:
        networks.learner.restore(state.best.weights, {})
    return state


def _step(
    networks: Networks, environment: Environment, settings: ReinforcementSettings, state: TrainState, seed: int
) -> None:
    """One step; adds its row to the log."""
    step, stopwatch = state.step, state.stopwatch
    drawn = environment.sample(step)
    stopwatch.lap("sample")
    # An empty reply cannot be scored, so the policy does not learn from it.
    replies = [reply for reply in drawn if reply.text.strip()]
    if not replies:
        place = f"{settings.algorithm.value.upper()} step {step + 1}"
        remedy = "" if step else "Look at the SL-CAI model's replies: it has to answer before it can be trained further"
        raise _AllEmpty("no reply of this step can be scored: all are empty", place=place, remedy=remedy)
    score_B = environment.score(replies)
    held_out_B = environment.held_out(replies) if environment.held_out else None
    stopwatch.lap("score")
    measured = measure(networks, replies, score_B, settings, state.kl_coefficient)
    rollout = replace(measured, held_out_B=held_out_B, empty=len(drawn) - len(replies))
    stopwatch.lap("measure")
    row: dict[str, Any] = {"step": step + 1, "kl_coefficient": state.kl_coefficient, **describe(rollout)}
    if settings.keep is Kept.BEST and step > first_of_policy(networks, settings):
        _keep_best(networks, settings, state, row)
    row |= update(networks, rollout, settings, step, seed)
    stopwatch.lap("update")
    if environment.on_rollout:
        environment.on_rollout(step + 1, rollout)  # after the update: a step whose update fails is not one of the run
    state.log.rows.append(row)
    state.log.seconds = sum(stopwatch.seconds.values())
    if settings.kl_control is KlControl.ADAPTIVE and step >= first_of_policy(networks, settings):
        state.kl_coefficient = adapted_kl(
            state.kl_coefficient, row["kl"], settings.adaptive_kl_target, len(replies), settings.adaptive_kl_horizon
        )


def _keep_best(networks: Networks, settings: ReinforcementSettings, state: TrainState, row: Mapping[str, Any]) -> None:
    """Copy the policy if it is the best so far; `row` describes its rollout, and it has not been updated since."""
    score = row["score"] if row["held_out_score"] is None else row["held_out_score"]
    figure = score - settings.kl_coef * row["kl"]
    if math.isfinite(figure) and (state.best is None or figure > state.best.figure):
        weights = {name: weight.clone() for name, weight in networks.learner.weights().items()}
        state.best = Best(row["step"] - 1, figure, weights)


def _note(state: TrainState) -> str:
    row = state.log.rows[-1]
    return f"reward {row['reward']:+.2f}, KL {row['kl']:.2f}, {row['length']:.0f} tokens"


def _checkpoint(networks: Networks, state: TrainState) -> Checkpoint:
    tensors = {"policy": networks.learner.weights(), "policy_moments": networks.learner.moments()}
    if networks.critic is not None:
        tensors |= {"value": networks.critic.learner.weights(), "value_moments": networks.critic.learner.moments()}
    saved: dict[str, Any] = {
        "metrics": state.log.rows,
        "seconds": state.stopwatch.seconds,
        "kl_coefficient": state.kl_coefficient,
    }
    if state.best is not None:
        tensors["best"] = dict(state.best.weights)
        saved["best"] = {"step": state.best.step, "figure": state.best.figure}
    return Checkpoint(state.step, tensors, saved)


def _resume(networks: Networks, settings: ReinforcementSettings, session: TrainingSession) -> TrainState:
    checkpoint = session.checkpoints.newest()
    if checkpoint is None:
        return TrainState(settings.kl_coef)
    with restoring(session.checkpoints.folder):
        networks.learner.restore(checkpoint.tensors["policy"], checkpoint.tensors["policy_moments"])
        if networks.critic is not None:
            networks.critic.learner.restore(checkpoint.tensors["value"], checkpoint.tensors["value_moments"])
        saved = checkpoint.state
        stopwatch = Stopwatch(dict(saved["seconds"]))
        best = Best(**saved["best"], weights=checkpoint.tensors["best"]) if "best" in saved else None
        log = Log(list(saved["metrics"]), sum(stopwatch.seconds.values()))
        return TrainState(float(saved["kl_coefficient"]), log, stopwatch, best)
