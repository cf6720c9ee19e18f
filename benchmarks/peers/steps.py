"""Lets `make bench` drive a transformers trainer: each step of the optimiser is a repeat."""

from __future__ import annotations

from collections.abc import Mapping

from transformers import TrainerCallback

from benchmarks.peers.protocol import Floor


class EachStep(TrainerCallback):
    """Answers after every step, or after every few of them, and waits for the next command."""

    def __init__(self, floor: Floor, amount: float, every: int = 1) -> None:
        self.floor = floor
        self.amount = amount
        self.every = every
        self.count = 0

    def on_step_end(self, *args: object, **named: object) -> None:
        """See `TrainerCallback`."""
        self.count += 1
        if self.count % self.every == 0:
            self.floor.between_steps(self.amount)


def on_a_cpu(folder: str, dtype: str) -> Mapping[str, object]:
    """Settings that all trainers share: a CPU, one dtype, and nothing saved, logged or recomputed.

    With `bfloat16` the trainer casts by autocast, as TRL recommends; weights that learn stay in float32.
    """
    return {
        "output_dir": folder,
        "use_cpu": True,
        "bf16": dtype == "bfloat16",
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "learning_rate": 1e-5,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "dataloader_pin_memory": False,
    }
