"""TRL's vocabulary: RLOO, since TRL has PPO no more; one machine, or several through accelerate.

Read from the source of 1.16, and run in our tests: `trainer/rloo_config.py` (settings), `trainer/rloo_trainer.py`
(rewards). A prompt is a JSON line with its messages as `prompt`. RLOO has no value function, so the settings of one are
not handed on, and it needs two replies or more to each prompt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from solon.config.recipe import Algorithm, KlControl
from solon.export.trainers.trainer_plan import ADAM_BETAS, ADAM_EPSILON, Left, Plan, Setting, Trainer
from solon.export.trainers.trainer_prompts import HandoffPrompt
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
    whitened = "As published, and as in Solon." if plan.leaves_one_out else "As Solon whitens those of PPO."
    rises = [
        Setting("lr_scheduler_type", "constant_with_warmup"),
        Setting(
            "warmup_steps", rl.warmup_steps * plan.updates_a_step, f"Updates: those of {rl.warmup_steps} steps; from 0."
        ),
    ]
    return [
        Setting("max_steps", plan.steps * plan.updates_a_step, f"Updates: those of {plan.steps} steps."),
        Setting("shuffle_dataset", False, "The file is in the order of Solon's own steps."),
        Setting("generation_batch_size", shape.replies, "Replies of one step, on all GPUs together."),
        Setting("num_generations", shape.samples, "RLOO needs two replies to a prompt at least."),
        Setting("num_iterations", rl.epochs, "Passes over each step's replies."),
        Setting("beta", rl.kl_coef, "In the reward, summed over the reply; log p - log q, as in Solon."),
        Setting("epsilon", rl.clip_ratio, "Clips the ratio of the whole reply, not of each token: it binds sooner."),
        Setting("normalize_advantages", not plan.leaves_one_out, whitened),
        Setting("learning_rate", rl.learning_rate),
        *(rises if rl.warmup_steps else [Setting("lr_scheduler_type", "constant")]),
        Setting("adam_beta1", ADAM_BETAS[0]),
        Setting("adam_beta2", ADAM_BETAS[1]),
        Setting("adam_epsilon", ADAM_EPSILON),
        Setting("weight_decay", 0.0),
        Setting("max_grad_norm", rl.max_grad_norm),
        Setting("disable_dropout", True),
        Setting("temperature", rl.sampling.temperature),
        Setting("top_p", rl.sampling.top_p),
        Setting("max_completion_length", rl.sampling.max_tokens),
        Setting("mask_truncated_completions", False, "A reply cut at its limit pays its penalty in reward.py."),
        Setting("save_steps", rl.checkpoint_every * plan.updates_a_step),
        Setting("logging_steps", 1),
        Setting("report_to", "none"),
        Setting("seed", plan.seed),
    ]


def left(plan: Plan) -> list[Left]:
    """What TRL's RLOO has no equal of."""
    rl = plan.rl
    found = []
    if rl.algorithm is Algorithm.PPO:
        told = f"rate {rl.value_learning_rate:g}, {rl.value_warmup_steps} steps ahead, lambda {rl.gae_lambda:g}"
        if rl.gae_lambda_value is not None:
            told += f" ({rl.gae_lambda_value:g} for its returns)"
        if rl.gamma != 1:
            told += f", discount {rl.gamma:g}"
        found += [
            Left("rl.algorithm", rl.algorithm.value, "RLOO: TRL has no PPO since 1.13"),
            Left("the value function's settings", told, "there is no value function"),
        ]
    instead = "one ratio for a whole reply, and the mean over replies"
    found.append(Left("rl.loss_aggregation", rl.loss_aggregation.value, instead))
    if rl.kl_control is KlControl.ADAPTIVE:
        told = (
            f"{rl.kl_control.value}, target {rl.adaptive_kl_target:g} nats per reply, horizon {rl.adaptive_kl_horizon}"
        )
        found.append(Left("rl.kl_control", told, f"the coefficient stays at {rl.kl_coef:g}"))
    if rl.dual_clip is not None:
        found.append(Left("rl.dual_clip", rl.dual_clip, "a bad reply that has become likelier costs what it costs"))
    if rl.lora is not None:
        told = f"rank {rl.lora.rank}, alpha {rl.lora.alpha:g}"
        found.append(Left("rl.lora", told, "train.py trains all weights"))
    return found


TRL = Trainer(
    name="trl",
    title="TRL",
    version="1.16.0",
    least_samples=2,
    device="auto",
    settings=settings,
    left=left,
    write_prompts=write_prompts,
    suffix=".jsonl",
    files=("reward.py", "check.py", "train.py"),
    templates={"launch.sh": "launch-trl.sh", "config.yaml": "config-trl.yaml", "README.md": "readme-trl.md"},
)
