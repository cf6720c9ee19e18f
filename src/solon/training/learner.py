"""Accumulates gradients, checks them and takes optimiser steps.

The loss of a batch is a sum over its rows or tokens divided by their number, counted before the batch is cut into
micro-batches, so the gradient is the same for any micro-batch size and any number of processes that share the rows:
their gradients are summed before the step, and all take the same step. A loss or a gradient norm that is not finite
raises an error with the step and the rows before the optimiser changes the weights.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from solon.config.recipe import Schedule
from solon.errors import DivergedError, StageError
from solon.runs.processes import SINGLE_PROCESS, Processes, Sharding
from solon.training.distributed.sharded import distribute_like, full_tensor, local_tensor

BETAS = (0.9, 0.95)
EPSILON, EPSILON_RL = 1e-8, 1e-5
"""Reinforcement learning's gradients are noisier, and its second moments smaller (Huang et al. 2024, detail 19)."""
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def linear_warmup(rate: float, step: int, warmup: int) -> float:
    """The rate of step `step` (from 0) with a linear warm-up over `warmup` steps, then constant."""
    return rate * (step + 1) / warmup if step < warmup else rate


def learning_rate_at(step: int, steps: int, peak: float, schedule: Schedule, warmup: float) -> float:
    """The rate of step `step` (from 0) of `steps`: warm-up over the share `warmup`, then constant or linear to 0."""
    rising = math.ceil(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    if schedule is Schedule.CONSTANT:
        return peak
    return peak * (steps - step) / (steps - rising)


Counts = Mapping[str, float | Tensor]
"""Sums for metrics; tensors have one number, and may be on a GPU."""


def on_host(numbers: Sequence[float | Tensor]) -> list[float]:
    """The numbers in order, as Python's; those of a GPU in one transfer, since each transfer waits for the GPU."""
    tensors = [each.detach() for each in numbers if isinstance(each, Tensor)]
    moved = iter(torch.stack([each.double() for each in tensors]).cpu().tolist() if tensors else ())
    return [
        (next(moved) if each.is_floating_point() else int(next(moved))) if isinstance(each, Tensor) else each
        for each in numbers
    ]


@dataclass(slots=True)
class Totals:
    """Sums over micro-batches: the loss and the objective's counts."""

    loss: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, loss: float, counts: Mapping[str, float]) -> None:
        """Add one micro-batch."""
        self.loss += loss
        self.counts.update(counts)


class Learner:
    """AdamW over named parameters, with a clipped and checked gradient."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        *,
        clip: float,
        epsilon: float,
        weight_decay: float = 0.0,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        self.parameters = dict(parameters)
        self.clip = clip
        self.processes = processes
        # Only matrices decay: gains and biases do not belong near 0.
        matrices = [each for each in self.parameters.values() if each.ndim > 1]
        vectors = [each for each in self.parameters.values() if each.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=0.0, betas=BETAS, eps=epsilon, fused=True
        )

    @staticmethod
    def backward(loss: Tensor) -> Tensor:
        """Add the loss's gradient. Returns the loss, which `checked` checks once it is on the host."""
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def checked(self, loss: float, place: str, row_ids: Iterable[str]) -> float:
        """The loss of these rows; raises DivergedError when it is not finite, and then the gradient is not either."""
        if not math.isfinite(loss):
            raise self._not_finite("loss", loss, place, row_ids)
        return loss

    @staticmethod
    def zero_backward(loss: Tensor) -> None:
        """A backward pass with gradient 0, for processes that need this one's shards of the weights."""
        (loss * 0).backward()  # type: ignore[no-untyped-call]

    def all_reduce_totals(self, totals: Totals, failure: DivergedError | None) -> Totals:
        """The sum of all processes' `totals`; also sums their gradients.

        Raises, in every process, the `failure` of the first process that has one.
        """
        failed = [failure.cause, failure.place, failure.remedy] if failure else None
        own: dict[str, Any] = {"loss": totals.loss, "counts": dict(totals.counts), "failed": failed}
        gathered = self.processes.gather([own])
        for each in gathered:
            if each["failed"]:
                self.discard()
                cause, place, remedy = each["failed"]
                raise DivergedError(cause, place=place, remedy=remedy)
        self.add_gradients()
        summed = Totals()
        for each in gathered:
            summed.add(each["loss"], each["counts"])
        return summed

    def add_gradients(self) -> None:
        """Sum the gradients of all processes; with FSDP they are summed already. Collective."""
        if self.processes.count == 1 or self.processes.sharding is Sharding.SHARDED:
            return
        learning = list(self.parameters.values())
        # A parameter that no process used stays without a gradient, so that the optimiser skips it.
        used = torch.tensor([int(each.grad is not None) for each in learning])
        self.processes.add([used])
        gradients = []
        for each, number in zip(learning, used.tolist(), strict=True):
            if number:
                each.grad = torch.zeros_like(each) if each.grad is None else each.grad
                gradients.append(each.grad)
        self.processes.add(gradients)

    def step(self, learning_rate: float, place: str, row_ids: Iterable[str]) -> float:
        """Clip, check, update and clear the gradient; returns its norm before clipping."""
        norm = float(full_tensor(nn.utils.clip_grad_norm_(list(self.parameters.values()), self.clip)))
        if not math.isfinite(norm):
            self.discard()
            raise self._not_finite("gradient norm", norm, place, row_ids)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.step()
        self.discard()
        return norm

    def discard(self) -> None:
        """Clear the accumulated gradient."""
        self.optimiser.zero_grad(set_to_none=True)

    def local_state(self) -> dict[str, Tensor]:
        """A copy, in the host's memory, of this process's part of the trainable parameters; for `load_local_state`."""
        return {name: local_tensor(parameter).to("cpu", copy=True) for name, parameter in self.parameters.items()}

    def load_local_state(self, state: Mapping[str, Tensor]) -> None:
        """Set the parameters to what `local_state` returned; the optimiser's moments stay."""
        for name, parameter in self.parameters.items():
            local_tensor(parameter).copy_(state[name])

    def weights(self) -> dict[str, Tensor]:
        """The trainable parameters by name."""
        return {name: full_tensor(parameter) for name, parameter in self.parameters.items()}

    def moments(self) -> dict[str, Tensor]:
        """The optimiser's state as `moment/parameter`; empty before the first step."""
        return {
            f"{moment}/{name}": full_tensor(state[moment])
            for name, parameter in self.parameters.items()
            if (state := self.optimiser.state.get(parameter))
            for moment in _MOMENTS
        }

    def restore(self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> None:
        """Restore what `weights` and `moments` returned; raises StageError when they are another model's."""
        shapes = {name: parameter.shape for name, parameter in self.parameters.items()}
        if {name: tensor.shape for name, tensor in weights.items()} != shapes:
            raise StageError(
                "a checkpoint holds other weights than the model",
                remedy="Delete the stage's folder 'checkpoints' and run again",
            )
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(distribute_like(weights[name], parameter))
        self.optimiser.state.clear()
        for key, tensor in moments.items():
            moment, name = key.split("/", 1)
            parameter = self.parameters[name]
            like = parameter if tensor.shape == parameter.shape else torch.zeros(0, device=parameter.device)
            self.optimiser.state[parameter][moment] = distribute_like(tensor, like)

    def _not_finite(self, what: str, value: float, place: str, row_ids: Iterable[str]) -> DivergedError:
        named: Sequence[str] = sorted(set(row_ids))
        shown = ", ".join(named[:8]) + (f" and {len(named) - 8} more" if len(named) > 8 else "")
        remedy = "Look at these rows, or lower the learning rate in a new run; this run's checkpoints are kept"
        if not self.optimiser.state:
            remedy = "This is the first step: look at these rows, or start from another model"
        return DivergedError(
            f"the {what} is {value}; this step is not taken. Rows: {shown}",
            place=place,
            remedy=remedy,
        )
