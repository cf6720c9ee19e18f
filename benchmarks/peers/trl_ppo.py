"""PPO as TRL last shipped it (1.12), a step for a repeat; rewards come from a classifier in the same process.

One minibatch a pass, as in Solon's settings for this comparison, and the whole rollout in one forward pass.
"""

from __future__ import annotations

import sys
import tempfile

import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding
from trl.experimental.ppo import PPOConfig, PPOTrainer

from benchmarks.peers.adapters import adapted, adapter_of
from benchmarks.peers.models import classifier_in, language_model_in, tokenizer_in
from benchmarks.peers.protocol import Floor
from benchmarks.peers.steps import EachStep, on_a_cpu
from benchmarks.peers.tasks import ReinforcementTask, read_task


def main() -> None:
    """Arguments: the task's file, `ppo`, the dtype."""
    floor = Floor()
    path, _, dtype = sys.argv[1:]
    task = read_task(ReinforcementTask, path)
    torch.set_num_threads(task.threads)
    torch.manual_seed(0)
    tokenizer = tokenizer_in(task.policy, padding_side="left")
    tokenizer.pad_token_id = task.pad
    with tempfile.TemporaryDirectory() as folder:
        config = PPOConfig(
            **on_a_cpu(folder, dtype),
            num_sample_generations=0,
            per_device_train_batch_size=task.episodes,
            gradient_accumulation_steps=1,
            num_mini_batches=1,
            num_ppo_epochs=task.passes,
            local_rollout_forward_batch_size=task.episodes,
            total_episodes=task.episodes * task.steps,
            response_length=task.new_tokens,
            temperature=1.0,
            stop_token="eos",
        )
        adapter = adapter_of(task.lora_rank)
        trainer = PPOTrainer(
            args=config,
            processing_class=tokenizer,
            model=language_model_in(task.policy),
            # With an adapter the reference is the policy without it.
            ref_model=None if adapter else language_model_in(task.policy),
            reward_model=classifier_in(task.reward),
            value_model=adapted(classifier_in(task.reward), task.lora_rank, scores=True),
            train_dataset=Dataset.from_dict({"input_ids": list(task.prompts)}),
            data_collator=DataCollatorWithPadding(tokenizer),
            callbacks=[EachStep(floor, task.episodes)],
            peft_config=adapter,
        )
        floor.ready("torch", "transformers", "trl", "peft")
        if floor.asked():
            trainer.train()


if __name__ == "__main__":
    main()
