"""PPO as TRL last shipped it (1.12), timed step by step; `benchmarks/ppo.py` runs it in an environment of its own.

It imports nothing of Solon, which that environment does not have.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from clock import Clock, print_result
from datasets import Dataset
from models import classifier_in, language_model_in, tokenizer_in
from transformers import DataCollatorWithPadding
from trl.experimental.ppo import PPOConfig, PPOTrainer


def main() -> None:
    """Read the folder and the sizes from the command line; print a JSON line."""
    folder, sizes = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(sizes["threads"])
    torch.manual_seed(0)
    tokenizer = tokenizer_in(folder / "policy", padding_side="left")
    tokenizer.pad_token_id = sizes["pad"]
    prompts = json.loads((folder / "prompts.json").read_text())["token_ids"]
    config = PPOConfig(
        output_dir=str(folder / "trl-ppo"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        num_sample_generations=0,
        per_device_train_batch_size=sizes["episodes"],
        gradient_accumulation_steps=1,
        num_mini_batches=1,
        num_ppo_epochs=sizes["epochs"],
        local_rollout_forward_batch_size=sizes["episodes"],
        total_episodes=sizes["episodes"] * sizes["steps"],
        response_length=sizes["new_tokens"],
        temperature=1.0,
        stop_token="eos",
        learning_rate=1e-5,
    )
    clock = Clock()
    trainer = PPOTrainer(
        args=config,
        processing_class=tokenizer,
        model=language_model_in(folder / "policy"),
        ref_model=language_model_in(folder / "policy"),
        reward_model=classifier_in(folder / "reward"),
        value_model=classifier_in(folder / "reward"),
        train_dataset=Dataset.from_dict({"input_ids": prompts}),
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[clock],
    )
    trainer.train()
    print_result(clock.ends)


if __name__ == "__main__":
    main()
