"""The supervised loop: batches of rows, one optimiser step each, metrics, checkpoints, resume.

An `Objective` defines the size and the loss of rows; finetuning and the preference model are two of them. A run is a
function of its examples, settings and seed: the rows of step k depend only on (seed, k), so a killed run resumes from
its newest checkpoint to the same weights and metrics.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from solon.config.recipe import TrainingSettings
from solon.digest import uniform_for
from solon.errors import DivergedError, StageError
from solon.runs import StageFolder
from solon.runs.processes import SINGLE_PROCESS, Processes
from solon.training.batches import Orders, batch_at, micro_batches, steps_per_epoch
from solon.training.checkpoint import Checkpoint, Checkpoints, ReadCheckpoints, restoring
from solon.training.distributed.sharded import pad_passes
from solon.training.learner import Counts, Learner, Totals, learning_rate_at, on_host
from solon.training.metrics import Several, Sink

CODE = 1
"""The version of training; raise it with every change that gives other weights for the same examples."""


class StepRow(Protocol):
    """An example, as the loop needs it."""

    @property
    def row_id(self) -> str:
        """Its name in errors."""
        ...

    @property
    def length(self) -> int:
        """Tokens of its longest sequence."""
        ...

    @property
    def tokens(self) -> int:
        """Tokens of all its sequences."""
        ...


R = TypeVar("R", bound=StepRow)
R_contra = TypeVar("R_contra", bound=StepRow, contravariant=True)


class Objective(Protocol[R_contra]):
    """The loss of a model on rows."""

    @property
    def width(self) -> int:
        """Sequences per row in one forward pass."""
        ...

    @property
    def pass_cost(self) -> int:
        """Padding tokens that cost as much as another pass of its model."""
        ...

    def size(self, rows: Sequence[R_contra]) -> float:
        """The divisor of the summed loss: tokens with loss, or the rows' weights."""
        ...

    def loss(self, rows: Sequence[R_contra]) -> tuple[Tensor, Counts]:
        """The summed loss of `rows`, with gradient, and sums for metrics."""
        ...


Progress = Callable[[int, int, str], None]


def silent(done: int, total: int, note: str) -> None:
    """Show no progress."""


@dataclass(frozen=True, slots=True)
class TrainingSession:
    """Checkpoints, metrics and progress of a training run, and whether it should stop."""

    checkpoints: Checkpoints
    progress: Progress = silent
    stopping: Callable[[], bool] = lambda: False
    metrics: Sink = field(default_factory=Several)

    def due(self, step: int, every: int, *, last: bool) -> bool:
        """Whether a checkpoint is to be written after `step` steps: every so many, after the last, and to stop.

        After the last step the model is still to be measured and saved; a disk that fills up then costs no training.
        """
        return last or step % every == 0 or self.stopping()


@dataclass(slots=True)
class Log:
    """The log of a training run: a row of metrics per step, and the seconds of all sessions."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


def is_held_out(row_id: str, share: float, seed: int) -> bool:
    """Whether a prompt is kept for evaluation: a draw by the run's seed and the row, the same in every stage."""
    return uniform_for(seed, "held out", row_id) < share


def session_in(out: StageFolder) -> TrainingSession:
    """A training session in a stage's folder; only the main process writes checkpoints."""
    kept = ReadCheckpoints if out.follows else Checkpoints
    return TrainingSession(kept(out.path / "checkpoints"), partial(out.report, unit="steps"), lambda: out.stopping)


def accumulate(
    learner: Learner, objective: Objective[R], rows: Sequence[R], micro_tokens: int, place: str
) -> tuple[Totals, float]:
    """Gradients of the mean loss of `rows`, micro-batch by micro-batch; the sums, and what the loss was divided by."""
    size = objective.size(rows)
    mine = shared(learner.processes, rows)
    parts = _parts(objective, mine, micro_tokens)
    found: list[tuple[Sequence[R], Tensor, Counts]] = []
    for part, counted in pad_passes(learner.processes, parts, rows[:1]):
        loss, counts = objective.loss(part)
        if counted:
            found.append((part, learner.backward(loss / size), counts))
        else:
            learner.zero_backward(loss)
    totals, failure = Totals(), None
    # Read after all passes: a GPU is given the next pass while it works on this one.
    numbers = iter(on_host([each for _, loss, counts in found for each in (loss, *counts.values())]))
    for part, _, counts in found:
        value, own = next(numbers), {name: next(numbers) for name in counts}
        try:
            totals.add(learner.checked(value, place, (row.row_id for row in part)), own)
        except DivergedError as error:  # sent to all, so that no process waits for one that has ended
            failure = error
            break
    return learner.all_reduce_totals(totals, failure), size


def _parts(objective: Objective[R], rows: Sequence[R], micro_tokens: int) -> list[list[R]]:
    """The rows of each pass."""
    width, cost = objective.width, objective.pass_cost
    return list(micro_batches(rows, lambda row: row.length, micro_tokens, width=width, cost=cost))


def padding_share(objective: Objective[R], examples: Sequence[R], settings: TrainingSettings, seed: int) -> float:
    """The share of padding in all tokens that the first epoch's passes read, in one process."""
    orders, read, own = Orders(), 0, 0
    for step in range(steps_per_epoch(len(examples), settings.batch_size)):
        rows = [examples[index] for index in batch_at(step, len(examples), settings.batch_size, seed, orders)]
        for part in _parts(objective, rows, settings.micro_batch_tokens):
            read += len(part) * max(row.length for row in part) * objective.width
            own += sum(row.tokens for row in part)
    return round(1 - own / read, 4) if read else 0.0


def shared(processes: Processes, rows: Sequence[R]) -> Sequence[R]:
    """This process's part of `rows`: a mix of long and short ones."""
    return processes.share(sorted(rows, key=lambda row: row.length, reverse=True))


def mean_loss(
    objective: Objective[R], rows: Sequence[R], micro_tokens: int, processes: Processes = SINGLE_PROCESS
) -> float | None:
    """The mean loss over `rows` without gradients; None when there are none, StageError when it is not finite."""
    if not rows:
        return None
    losses: list[Tensor] = []
    with torch.no_grad():
        mine = shared(processes, rows)
        parts = _parts(objective, mine, micro_tokens)
        for part, counted in pad_passes(processes, parts, rows[:1]):
            loss, _ = objective.loss(part)
            losses += [loss] if counted else []
    mean = sum(processes.gather([sum(on_host(losses), 0.0)])) / objective.size(rows)
    if not math.isfinite(mean):
        raise StageError(
            f"the held-out loss is {mean}", place="held-out rows", remedy="Lower the learning rate in a new run"
        )
    return mean


def train(
    learner: Learner,
    objective: Objective[R],
    examples: Sequence[R],
    held_out: Sequence[R],
    settings: TrainingSettings,
    seed: int,
    session: TrainingSession,
) -> Log:
    """Train on `examples` for the settings' epochs, from the newest checkpoint on.

    The held-out loss is measured after each epoch and after the last step. Raises StageError when there is nothing to
    train on, or when a loss or gradient is not finite.
    """
    if not examples:
        raise StageError("there is nothing to train on", remedy="Look at the outcomes of the stages before this one")
    per_epoch = steps_per_epoch(len(examples), settings.batch_size)
    steps = max(1, math.ceil(settings.epochs * per_epoch))
    log, first = _resume(learner, session.checkpoints)
    refuse_unequal(learner.processes, first)
    session.metrics.begin(first)
    held_out_loss = partial(mean_loss, objective, held_out, settings.micro_batch_tokens, learner.processes)
    session.progress(first, steps, "")
    lap, orders = time.monotonic(), Orders()
    for step in range(first, steps):
        rows = [examples[index] for index in batch_at(step, len(examples), settings.batch_size, seed, orders)]
        place = f"training step {step + 1}"
        rate = learning_rate_at(step, steps, settings.learning_rate, settings.schedule, settings.warmup_ratio)
        totals, _ = accumulate(learner, objective, rows, settings.micro_batch_tokens, place)
        norm = learner.step(rate, place, (row.row_id for row in rows))
        rests = (step + 1) % per_epoch == 0 or step + 1 == steps
        log.rows.append(
            {
                "step": step + 1,
                "epoch": (step + 1) / per_epoch,
                "loss": totals.loss,
                "learning_rate": rate,
                "gradient_norm": norm,
                "rows": len(rows),
                **totals.counts,
                "held_out_loss": held_out_loss() if rests else None,
            }
        )
        session.metrics.add(log.rows[-1])
        log.seconds, lap = log.seconds + time.monotonic() - lap, time.monotonic()
        if session.due(step + 1, settings.checkpoint_every, last=step + 1 == steps):
            session.checkpoints.save(_checkpoint(learner, step + 1, log))
        session.progress(step + 1, steps, f"loss {totals.loss:.3f}")
    return log


def refuse_unequal(processes: Processes, step: int) -> None:
    """Raise StageError when processes would resume from different steps: they do not see the same folder."""
    steps = processes.gather([step])
    if len(set(steps)) > 1:
        raise StageError(
            f"the processes found checkpoints of different steps ({', '.join(map(str, steps))})",
            remedy="Put the run's folder where every machine sees it",
        )


def _checkpoint(learner: Learner, step: int, log: Log) -> Checkpoint:
    tensors = {"weights": learner.weights(), "moments": learner.moments()}
    return Checkpoint(step, tensors, {"metrics": log.rows, "seconds": log.seconds})


def _resume(learner: Learner, checkpoints: Checkpoints) -> tuple[Log, int]:
    checkpoint = checkpoints.newest()
    if checkpoint is None:
        return Log(), 0
    with restoring(checkpoints.folder):
        learner.restore(checkpoint.tensors["weights"], checkpoint.tensors["moments"])
        return Log(list(checkpoint.state["metrics"]), float(checkpoint.state["seconds"])), checkpoint.step
