"""Reinforcement learning from a preference model's scores (paper, section 4.1): the loop of PPO and of RLOO.

One step: sample replies, score them, measure them, learn from them (`episodes`, `policy_update`), then see whether the
KL coefficient is to change and whether a rule ends the run. All randomness is a function of (seed, step), and all that
goes from one step to the next is in a checkpoint, so a killed run goes on to the same weights.
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
from solon.training.checkpoint import Snapshot, restoring
from solon.training.loop import Log, TrainingSession, refuse_unequal
from solon.training.losses import adapted_kl


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


def unwatched(step: int, rollout: Rollout) -> None:
    """Watch nothing."""


def unkept(step: int) -> None:
    """Keep nothing."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a policy meets.

    `sample(step)` gives the replies of step `step` (from 0) by the present policy, and `score(replies)` the centred
    scores of those that have a text, shape (B), from the preference model that is learned from; `held_out(replies)`
    gives those of one that is not learned from. `watch(step, rollout)` gets every rollout, steps counted from 1.
    `snapshot(step)` keeps the policy as it is after so many steps; a step that is done again keeps it again.
    """

    sample: Sample
    score: Score
    held_out: Score | None = None
    watch: Callable[[int, Rollout], None] = unwatched
    snapshot: Callable[[int], None] = unkept


@dataclass(slots=True)
class Best:
    """The best policy so far: after how many steps, by what figure, and its weights."""

    step: int
    figure: float
    weights: Mapping[str, Tensor]


@dataclass(slots=True)
class TrainState:
    """How far a run has come, and all that its next step depends on beside the networks."""

    kl_coefficient: float
    log: Log = field(default_factory=Log)
    watch: Stopwatch = field(default_factory=Stopwatch)
    best: Best | None = None
    stopped_because: str | None = None

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.log.rows)

    @property
    def kept_step(self) -> int:
        """After how many steps the policy was as it is now kept."""
        return self.best.step if self.best else self.step


class _AllEmpty(StageError):
    """A step without a single reply that has a text."""


def reinforce(
    actors: Networks, environment: Environment, settings: ReinforcementSettings, seed: int, session: TrainingSession
) -> TrainState:
    """Train the policy, going on from the newest checkpoint; at the end it is the one that `settings.keep` asks for.

    A run that a rule ends before its last step says why in `stopped_because`. Raises StageError when training computes
    other log-probabilities than were measured, or in the first step when every reply is empty, and DivergedError when a
    number is not finite there; in a later step both are reasons to stop, with the policy as it was just before.
    """
    course = _resume(actors, settings, session)
    refuse_unequal(actors.learner.processes, course.step)
    session.metrics.begin(course.step)
    while course.step < settings.steps:
        course.stopped_because = stop_reason(course.log.rows, settings.stop)
        if course.stopped_because:
            break
        try:
            _step(actors, environment, settings, course, seed)
        except (DivergedError, _AllEmpty) as error:
            if not course.step:
                raise
            course.stopped_because = f"{error.place}: {error.cause}"
            break
        session.metrics.add(course.log.rows[-1])
        if settings.snapshots and course.step % settings.snapshots == 0:
            environment.snapshot(course.step)  # before the checkpoint, from which it would not be made again
        if session.due(course.step, settings.checkpoint_every):
            session.checkpoints.save(_snapshot(actors, course))
        session.progress(course.step, settings.steps, _note(course, settings))
    if settings.snapshots and course.step % settings.snapshots:
        environment.snapshot(course.step)
    if course.best is not None:
        actors.learner.restore(course.best.weights, {})
    return course


def _step(
    actors: Networks, environment: Environment, settings: ReinforcementSettings, course: TrainState, seed: int
) -> None:
    """One step; adds its row to the log."""
    step, watch = course.step, course.watch
    drawn = environment.sample(step)
    watch.lap("sample")
    # An empty text says nothing that could be scored: it never gets a score, and never teaches by one.
    replies = [reply for reply in drawn if reply.text.strip()]
    if not replies:
        place = f"{settings.algorithm.value.upper()} step {step + 1}"
        remedy = "" if step else "See what the SL-CAI model writes: it has to answer before it can be trained further"
        raise _AllEmpty("no reply of this step can be scored: all are empty", place=place, remedy=remedy)
    score_B = environment.score(replies)
    held_out_B = environment.held_out(replies) if environment.held_out else None
    watch.lap("score")
    measured = measure(actors, replies, score_B, settings, course.kl_coefficient)
    rollout = replace(measured, held_out_B=held_out_B, empty=len(drawn) - len(replies))
    environment.watch(step + 1, rollout)
    watch.lap("measure")
    row: dict[str, Any] = {"step": step + 1, "kl_coefficient": course.kl_coefficient, **describe(rollout)}
    if settings.keep is Kept.BEST and step > first_of_policy(actors, settings):
        _keep_best(actors, settings, course, row)
    row |= update(actors, rollout, settings, step, seed)
    watch.lap("update")
    course.log.rows.append(row)
    course.log.seconds = sum(watch.seconds.values())
    if settings.kl_control is KlControl.ADAPTIVE and step >= first_of_policy(actors, settings):
        course.kl_coefficient = adapted_kl(
            course.kl_coefficient, row["kl"], settings.adaptive_kl_target, len(replies), settings.adaptive_kl_horizon
        )


def _keep_best(actors: Networks, settings: ReinforcementSettings, course: TrainState, row: Mapping[str, Any]) -> None:
    """Copy the policy that has just replied if none was better: `row` tells of it, and it has not learned since."""
    score = row["score"] if row["held_out_score"] is None else row["held_out_score"]
    figure = score - settings.kl_coef * row["kl"]
    if math.isfinite(figure) and (course.best is None or figure > course.best.figure):
        weights = {name: weight.clone() for name, weight in actors.learner.weights().items()}
        course.best = Best(row["step"] - 1, figure, weights)


def _note(course: TrainState, settings: ReinforcementSettings) -> str:
    row = course.log.rows[-1]
    left = course.log.seconds / course.step * (settings.steps - course.step)
    coming = f", {left / 60:.0f} min left" if left >= 60 else f", {left:.0f} s left"
    return f"reward {row['reward']:+.2f}, KL {row['kl']:.2f}, {row['length']:.0f} tokens{coming if left else ''}"


def _snapshot(actors: Networks, course: TrainState) -> Snapshot:
    tensors = {"policy": actors.learner.weights(), "policy_moments": actors.learner.moments()}
    if actors.critic is not None:
        tensors |= {"value": actors.critic.learner.weights(), "value_moments": actors.critic.learner.moments()}
    state: dict[str, Any] = {
        "metrics": course.log.rows,
        "seconds": course.watch.seconds,
        "kl_coefficient": course.kl_coefficient,
    }
    if course.best is not None:
        tensors["best"] = dict(course.best.weights)
        state["best"] = {"step": course.best.step, "figure": course.best.figure}
    return Snapshot(course.step, tensors, state)


def _resume(actors: Networks, settings: ReinforcementSettings, session: TrainingSession) -> TrainState:
    snapshot = session.checkpoints.newest()
    if snapshot is None:
        return TrainState(settings.kl_coef)
    with restoring(session.checkpoints.folder):
        actors.learner.restore(snapshot.tensors["policy"], snapshot.tensors["policy_moments"])
        if actors.critic is not None:
            actors.critic.learner.restore(snapshot.tensors["value"], snapshot.tensors["value_moments"])
        state = snapshot.state
        watch = Stopwatch(dict(state["seconds"]))
        best = Best(**state["best"], weights=snapshot.tensors["best"]) if "best" in state else None
        log = Log(list(state["metrics"]), sum(watch.seconds.values()))
        return TrainState(float(state["kl_coefficient"]), log, watch, best)
