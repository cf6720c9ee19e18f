"""Finetuning and the preference model by TRL: `sft` is SFTTrainer, `pm` is RewardTrainer.

A step of the optimiser takes all rows of the task, in passes of `micro_rows` (TRL's own default is 8), each padded to
its longest row. Packing needs an attention kernel that keeps rows apart, which TRL has on GPUs alone.
"""

from __future__ import annotations

import sys
import tempfile
from typing import Any

import torch
from datasets import Dataset
from trl import RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from benchmarks.peers.adapters import adapter_of
from benchmarks.peers.models import classifier_in, language_model_in, tokenizer_in
from benchmarks.peers.protocol import Floor
from benchmarks.peers.steps import EachStep, on_a_cpu
from benchmarks.peers.tasks import LearningTask, read_task


def trainer_of(way: str, task: LearningTask, shared: dict[str, Any], callback: EachStep) -> Any:
    """The trainer with its model and its rows."""
    tokenizer = tokenizer_in(task.model)
    tokenizer.pad_token_id = task.pad
    if way == "sft":
        masks = [[0] * start + [1] * (len(row) - start) for row, start in zip(task.rows, task.starts, strict=True)]
        return SFTTrainer(
            model=language_model_in(task.model),
            args=SFTConfig(max_length=None, completion_only_loss=True, **shared),
            train_dataset=Dataset.from_dict({"input_ids": list(task.rows), "completion_mask": masks}),
            processing_class=tokenizer,
            peft_config=adapter_of(task.lora_rank),
            callbacks=[callback],
        )
    return RewardTrainer(
        model=classifier_in(task.model),
        args=RewardConfig(max_length=None, **shared),
        train_dataset=Dataset.from_dict({"chosen_ids": list(task.chosen), "rejected_ids": list(task.rejected)}),
        processing_class=tokenizer,
        peft_config=adapter_of(task.lora_rank, scores=True),
        callbacks=[callback],
    )


def main() -> None:
    """Arguments: the task's file, the way, the dtype."""
    floor = Floor()
    path, way, dtype = sys.argv[1:]
    task = read_task(LearningTask, path)
    torch.set_num_threads(task.threads)
    count = len(task.rows or task.chosen)
    with tempfile.TemporaryDirectory() as folder:
        shared = dict(on_a_cpu(folder, dtype))
        shared |= {"per_device_train_batch_size": task.micro_rows, "max_steps": task.steps}
        shared |= {"gradient_accumulation_steps": -(-count // task.micro_rows)}
        trainer = trainer_of(way, task, shared, EachStep(floor, task.tokens))
        floor.ready("torch", "transformers", "trl", "peft")
        if floor.asked():
            trainer.train()


if __name__ == "__main__":
    main()
