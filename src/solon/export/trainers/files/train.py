"""RLOO with TRL on one machine or several: `launch.sh` starts it.

Settings are in `config.yaml`; options on the command line replace them (`--max_steps 3`).
"""

from __future__ import annotations

import sys
from pathlib import Path

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import RLOOConfig, RLOOTrainer, TrlParser

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import reward  # noqa: E402  # in the same folder


def main() -> None:
    """Train and save the policy."""
    (settings,) = TrlParser(RLOOConfig).parse_args_and_config()
    tokenizer = AutoTokenizer.from_pretrained(
        HERE / "policy", local_files_only=True, trust_remote_code=False, padding_side="left"
    )
    model = AutoModelForCausalLM.from_pretrained(
        HERE / "policy", local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    # TRL stops at every end token of the model's generation settings; reward.py knows the same ones.
    model.generation_config.eos_token_id = reward.SETTINGS["end_ids"]
    prompts = load_dataset("json", data_files=str(HERE / "prompts" / "train.jsonl"), split="train")
    trainer = RLOOTrainer(
        model=model,
        reward_funcs=reward.reward,
        args=settings,
        train_dataset=prompts,
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model()
    tokenizer.save_pretrained(settings.output_dir)


if __name__ == "__main__":
    main()
