"""Solon as a contestant in training: `sft` and `pm`, built as the stages 04 and 07 build them.

All rows of the task are one batch, so each step of the optimiser, which is a repeat, learns from the same rows.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.peers.protocol import Floor
from benchmarks.peers.tasks import LearningTask, read_task
from solon.config.recipe import EngineSettings, LoraSettings, Precision, TrainingSettings
from solon.runs.processes import SINGLE_PROCESS
from solon.training.batches import CompletionExample, PairExample
from solon.training.checkpoint import Checkpoints
from solon.training.distributed.sharded import scalar_model, token_model
from solon.training.learner import EPSILON, Learner
from solon.training.loop import TrainingSession, train
from solon.training.models import (
    load_causal_lm,
    load_preference_model,
    storage_precision,
    trainable_parameters,
    with_adapter,
)
from solon.training.objectives import CompletionObjective, PreferenceObjective

RATE = 1e-5


def finetune(task: LearningTask, settings: TrainingSettings, session: TrainingSession) -> None:
    """Learn from the completions, as stage 04 does."""
    stored = storage_precision(settings.precision, settings.lora)
    model = with_adapter(load_causal_lm(Path(task.model), EngineSettings(), stored), settings.lora, 0)
    reading = token_model(model, SINGLE_PROCESS, settings.precision, settings.activations)
    learner = Learner(trainable_parameters(model), clip=settings.max_grad_norm, epsilon=EPSILON)
    examples = [
        CompletionExample(f"row {number}", tuple(row), start)
        for number, (row, start) in enumerate(zip(task.rows, task.starts, strict=True))
    ]
    train(learner, CompletionObjective(reading), examples, [], settings, 0, session)


def prefer(task: LearningTask, settings: TrainingSettings, session: TrainingSession) -> None:
    """Learn from the pairs, as stage 07 does."""
    stored = storage_precision(settings.precision, settings.lora)
    model = with_adapter(load_preference_model(Path(task.model), EngineSettings(), stored), settings.lora, 0)
    reading = scalar_model(model, SINGLE_PROCESS, settings.precision, settings.activations)
    learner = Learner(trainable_parameters(model), clip=settings.max_grad_norm, epsilon=EPSILON)
    examples = [
        PairExample(f"row {number}", tuple(chosen), tuple(rejected), 1.0, 1.0, "benchmark")
        for number, (chosen, rejected) in enumerate(zip(task.chosen, task.rejected, strict=True))
    ]
    train(learner, PreferenceObjective(reading), examples, [], settings, 0, session)


def main() -> None:
    """Arguments: the task's file, the way, the dtype."""
    floor = Floor()
    path, way, dtype = sys.argv[1:]
    task = read_task(LearningTask, path)
    torch.set_num_threads(task.threads)
    settings = TrainingSettings(
        learning_rate=RATE,
        epochs=task.steps,
        batch_size=len(task.rows or task.chosen),
        lora=LoraSettings(rank=task.lora_rank, alpha=2 * task.lora_rank) if task.lora_rank else None,
        precision=Precision(dtype),
        checkpoint_every=1 << 20,
    )

    def progress(done: int, total: int, note: str) -> None:
        if done:
            floor.between_steps(task.tokens)
        else:
            floor.ready("solon", "torch", "transformers", "peft")
            if not floor.asked():
                raise SystemExit

    with tempfile.TemporaryDirectory() as folder:
        session = TrainingSession(Checkpoints(Path(folder)), progress)
        {"sft": finetune, "pm": prefer}[way](task, settings, session)


if __name__ == "__main__":
    main()
