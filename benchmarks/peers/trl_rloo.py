"""RLOO of TRL, timed step by step; run by `benchmarks/ppo.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from clock import Clock, print_result
from datasets import Dataset
from models import classifier_in, language_model_in, tokenizer_in
from trl import RLOOConfig, RLOOTrainer


def main() -> None:
    """Read the folder and the sizes from the command line; print a JSON line."""
    folder, sizes = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(sizes["threads"])
    torch.manual_seed(0)
    tokenizer = tokenizer_in(folder / "policy", padding_side="left")
    tokenizer.pad_token_id = sizes["pad"]
    reward_tokenizer = tokenizer_in(folder / "reward")
    reward_tokenizer.pad_token_id = sizes["pad"]
    prompts = json.loads((folder / "prompts.json").read_text())["texts"]
    config = RLOOConfig(
        output_dir=str(folder / "trl-rloo"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        per_device_train_batch_size=sizes["episodes"],
        num_generations=2,
        num_iterations=sizes["epochs"],
        max_completion_length=sizes["new_tokens"],
        max_steps=sizes["steps"] * sizes["epochs"],
        temperature=1.0,
        learning_rate=1e-5,
    )
    clock = Clock()
    trainer = RLOOTrainer(
        model=language_model_in(folder / "policy"),
        reward_funcs=classifier_in(folder / "reward"),
        args=config,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer,
        reward_processing_classes=reward_tokenizer,
        callbacks=[clock],
    )
    trainer.train()
    # With several passes over a rollout the trainer counts each as a step.
    print_result(clock.ends[sizes["epochs"] - 1 :: sizes["epochs"]])


if __name__ == "__main__":
    main()
