"""RLOO of TRL, a rollout with its updates for a repeat; two replies to each prompt.

With several passes over a rollout the trainer counts each as a step, so a repeat is as many of its steps.
"""

from __future__ import annotations

import sys
import tempfile

import torch
from datasets import Dataset
from trl import RLOOConfig, RLOOTrainer

from benchmarks.peers.adapters import adapter_of
from benchmarks.peers.models import classifier_in, language_model_in, tokenizer_in
from benchmarks.peers.protocol import Floor
from benchmarks.peers.steps import EachStep, on_a_cpu
from benchmarks.peers.tasks import ReinforcementTask, read_task


def main() -> None:
    """Arguments: the task's file, `rloo`, the dtype."""
    floor = Floor()
    path, _, dtype = sys.argv[1:]
    task = read_task(ReinforcementTask, path)
    torch.set_num_threads(task.threads)
    torch.manual_seed(0)
    tokenizer = tokenizer_in(task.policy, padding_side="left")
    scores = tokenizer_in(task.reward)
    for each in (tokenizer, scores):
        each.pad_token_id = task.pad
    with tempfile.TemporaryDirectory() as folder:
        config = RLOOConfig(
            **on_a_cpu(folder, dtype),
            per_device_train_batch_size=task.episodes,
            num_generations=2,
            num_iterations=task.passes,
            max_completion_length=task.new_tokens,
            max_steps=task.steps * task.passes,
            temperature=1.0,
        )
        trainer = RLOOTrainer(
            model=language_model_in(task.policy),
            reward_funcs=classifier_in(task.reward),
            args=config,
            train_dataset=Dataset.from_dict({"prompt": list(task.texts)}),
            processing_class=tokenizer,
            reward_processing_classes=scores,
            peft_config=adapter_of(task.lora_rank),
            callbacks=[EachStep(floor, task.episodes, every=task.passes)],
        )
        floor.ready("torch", "transformers", "trl", "peft")
        if floor.asked():
            trainer.train()


if __name__ == "__main__":
    main()
