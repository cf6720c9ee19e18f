"""TRL's vocabulary: RLOO, since TRL has PPO no more; one machine, or several through accelerate.

Read from the source of 1.16, and run in our tests: `trainer/rloo_config.py` (settings), `trainer/rloo_trainer.py`
(rewards). A prompt is a JSON line with its messages as `prompt`. RLOO has no value function, so the settings of one are
not handed on, and it needs two replies or more to each prompt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from solon.handoff.plan import ADAM_BETAS, ADAM_EPSILON, Plan, Setting, Trainer
from solon.handoff.prompts import HandoffPrompt
from solon.runs.files import write_atomically


def write_prompts(prompts: Sequence[HandoffPrompt], path: Path) -> None:
    """Prompts as JSON Lines."""
    lines = [
        json.dumps({"prompt": prompt.messages, "kind": prompt.kind.value, "row_id": prompt.row_id})
        for prompt in prompts
    ]
    write_atomically(path, "".join(f"{line}\n" for line in lines))


def settings(plan: Plan) -> list[Setting]:
    """The recipe's settings as fields of `RLOOConfig`."""
    rl, shape = plan.rl, plan.shape
    return [
        Setting("max_steps", plan.steps * shape.minibatches * rl.epochs, f"Updates: those of {plan.steps} steps."),
        Setting("shuffle_dataset", False, "The file is in the order of Solon's own steps."),
        Setting("generation_batch_size", shape.replies, "Replies of one step, on all GPUs together."),
        Setting("num_generations", shape.samples, "RLOO needs two replies to a prompt at least."),
        Setting("num_iterations", rl.epochs, "Passes over each step's replies."),
        Setting("beta", rl.kl, "In the reward, summed over the reply; log p - log q, as in Solon."),
        Setting("epsilon", rl.clip_ratio, "Clips the ratio of the whole reply, not of each token: it binds sooner."),
        Setting("normalize_advantages", True, "As Solon whitens them."),
        Setting("learning_rate", rl.learning_rate),
        Setting("lr_scheduler_type", "constant"),
        Setting("adam_beta1", ADAM_BETAS[0]),
        Setting("adam_beta2", ADAM_BETAS[1]),
        Setting("adam_epsilon", ADAM_EPSILON),
        Setting("weight_decay", 0.0),
        Setting("max_grad_norm", rl.clip_gradient),
        Setting("disable_dropout", True),
        Setting("temperature", rl.drawing.temperature),
        Setting("top_p", rl.drawing.top_p),
        Setting("max_completion_length", rl.drawing.max_tokens),
        Setting("mask_truncated_completions", False, "A reply cut at its limit pays its penalty in reward.py."),
        Setting("save_steps", rl.checkpoint_every * shape.minibatches * rl.epochs),
        Setting("logging_steps", 1),
        Setting("report_to", "none"),
        Setting("seed", plan.seed),
    ]


TRL = Trainer(
    name="trl",
    title="TRL",
    version="1.16.0",
    least_samples=2,
    device="auto",
    settings=settings,
    write_prompts=write_prompts,
    suffix=".jsonl",
    files=("reward.py", "check.py", "train.py"),
    templates={"launch.sh": "launch-trl.sh", "config.yaml": "config-trl.yaml", "README.md": "readme-trl.md"},
)
