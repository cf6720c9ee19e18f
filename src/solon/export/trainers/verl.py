"""verl's vocabulary: PPO with a value function, or RLOO, on many nodes.

Read from the source of 0.9.1: `trainer/config/ppo_trainer.yaml` with the files that it draws in (settings),
`utils/dataset/rl_dataset.py` (prompts), `experimental/reward_loop/` (rewards), `trainer/ppo/core_algos.py` (losses, KL,
advantages), `workers/engine/fsdp/` (learning rates). A prompt is a Parquet row; its messages stand in `extra_info` once
more, as JSON, because a reward function is not given the prompt otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from solon.config.recipe import Aggregation, KlControl
from solon.export.trainers.trainer_plan import (
    ADAM_BETAS,
    ADAM_EPSILON,
    UNCLIPPED,
    Plan,
    Setting,
    Trainer,
    left_of_values,
)
from solon.export.trainers.trainer_prompts import HandoffPrompt

STRING = pa.string()
MESSAGES = pa.list_(pa.struct([("role", STRING), ("content", STRING)]))
SCHEMA = pa.schema(
    [
        ("prompt", MESSAGES),
        ("data_source", STRING),
        ("reward_model", pa.struct([("style", STRING), ("ground_truth", STRING)])),
        ("extra_info", pa.struct([("row_id", STRING), ("kind", STRING), ("prompt", STRING)])),
    ]
)


def write_prompts(prompts: Sequence[HandoffPrompt], path: Path) -> None:
    """Prompts as Parquet; `ground_truth` is demanded and empty, since a preference model knows none."""
    rows = [
        {
            "prompt": list(prompt.messages),
            "data_source": f"solon/{prompt.kind.value}",
            "reward_model": {"style": "model", "ground_truth": ""},
            "extra_info": {
                "row_id": prompt.row_id,
                "kind": prompt.kind.value,
                "prompt": json.dumps(prompt.messages),
            },
        }
        for prompt in prompts
    ]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path.absolute())


def settings(plan: Plan) -> list[Setting]:
    """The recipe's settings as overrides of `verl.trainer.main_ppo`."""
    critic = [] if plan.leaves_one_out else _critic(plan)
    return [*_data(plan), *_policy(plan), *critic, *_reward(), *_course(plan)]


def _data(plan: Plan) -> list[Setting]:
    return [
        Setting("data.train_files", "$HERE/prompts/train.parquet"),
        Setting("data.val_files", "$HERE/prompts/held-out.parquet", "Read only when trainer.test_freq is set."),
        Setting("data.shuffle", False, "The file is in the order of Solon's own steps."),
        Setting("data.train_batch_size", plan.shape.prompts, "Prompts of one step."),
        Setting("data.max_prompt_length", plan.longest_prompt, "Of the longest that was handed on."),
        Setting("data.max_response_length", plan.rl.sampling.max_tokens),
        Setting("data.truncation", "error"),
    ]


def _policy(plan: Plan) -> list[Setting]:
    rl, shape, role = plan.rl, plan.shape, "actor_rollout_ref"
    found = [
        Setting(f"{role}.model.path", "$HERE/policy", "SL-CAI; the reference is this model too."),
        *_optimiser(f"{role}.actor", rl.learning_rate, plan),
        Setting(
            f"{role}.actor.ppo_mini_batch_size", shape.minibatch, "Counted in prompts; verl multiplies by rollout.n."
        ),
        Setting(f"{role}.actor.ppo_epochs", rl.epochs, "Solon's early end of a rollout at a large KL is missing."),
        Setting(f"{role}.actor.shuffle", True),
        Setting(f"{role}.actor.clip_ratio", rl.clip_ratio),
        Setting(f"{role}.actor.clip_ratio_low", rl.clip_ratio),
        Setting(f"{role}.actor.clip_ratio_high", rl.clip_ratio),
        Setting(f"{role}.actor.clip_ratio_c", rl.dual_clip or UNCLIPPED, "rl.dual_clip; 3 unless verl is told."),
        Setting(f"{role}.actor.loss_agg_mode", _AGGREGATION[rl.loss_aggregation]),
        Setting(f"{role}.actor.use_kl_loss", False, "The KL penalty is in the reward."),
        Setting(f"{role}.rollout.name", "vllm"),
        Setting(f"{role}.rollout.n", shape.samples),
        Setting(f"{role}.rollout.temperature", rl.sampling.temperature),
        Setting(f"{role}.rollout.top_p", rl.sampling.top_p),
        Setting(f"{role}.rollout.tensor_model_parallel_size", 1),
    ]
    if rl.lora is not None:
        found += [
            Setting(f"{role}.model.lora_rank", rl.lora.rank),
            Setting(f"{role}.model.lora_alpha", round(rl.lora.alpha), "Whole numbers only."),
        ]
    return found


def _critic(plan: Plan) -> list[Setting]:
    rl = plan.rl
    why = (
        "Loaded as a token classifier: the head is the preference model's, a bias is added and begins at 0."
        if plan.shared_tokens
        else "The preference model has other tokens than the policy, so the value function starts from the policy."
    )
    return [
        Setting("critic.model.path", f"$HERE/{plan.critic}", why),
        *_optimiser("critic", rl.value_learning_rate, plan),
        Setting("critic.cliprange_value", rl.clip_value or UNCLIPPED),
        Setting("critic.loss_agg_mode", "token-mean", "As in Solon whatever the policy's is; verl takes the policy's."),
    ]


_AGGREGATION = {Aggregation.TOKENS: "token-mean", Aggregation.REPLIES: "seq-mean-token-mean"}


def _optimiser(role: str, rate: float, plan: Plan) -> list[Setting]:
    rl = plan.rl
    why = "Steps, from 0: one behind Solon's."
    rises = [Setting(f"{role}.optim.lr_warmup_steps", rl.warmup_steps, why)] if rl.warmup_steps else []
    return [
        Setting(f"{role}.optim.lr", rate),
        Setting(f"{role}.optim.betas", ADAM_BETAS),
        Setting(f"{role}.optim.weight_decay", 0.0),
        Setting(f"{role}.optim.override_optimizer_config", {"eps": ADAM_EPSILON}),
        Setting(f"{role}.optim.clip_grad", rl.max_grad_norm),
        *rises,
    ]


def _reward() -> list[Setting]:
    return [
        Setting("reward.custom_reward_function.path", "$HERE/reward.py"),
        Setting("reward.custom_reward_function.name", "compute_score"),
        Setting("reward.reward_manager.source", "importlib", "Ours sees whether a reply ended; verl's own does not."),
        Setting("reward.reward_manager.name", "FinishedRewardManager"),
        Setting("reward.reward_manager.module.path", "$HERE/reward_manager.py"),
    ]


def _course(plan: Plan) -> list[Setting]:
    rl = plan.rl
    return [
        *_advantages(plan),
        Setting("algorithm.use_kl_in_reward", True, "Off in verl unless it is said; for each token, as in Solon."),
        Setting("algorithm.kl_penalty", "kl", "verl's name for log p - log q (k1)."),
        *_kl_control(plan),
        Setting("trainer.total_epochs", 1),
        Setting("trainer.total_training_steps", plan.steps),
        Setting("trainer.val_before_train", False),
        Setting("trainer.save_freq", rl.checkpoint_every),
        Setting("data.seed", plan.seed),
    ]


def _advantages(plan: Plan) -> list[Setting]:
    rl = plan.rl
    if plan.leaves_one_out:
        why = "Without a value function, and with the KL penalty in the baseline, as in Solon."
        return [Setting("algorithm.adv_estimator", "rloo", why)]
    warm = f"Steps count from 1 and the policy learns from this one on: {rl.value_warmup_steps} steps for the critic."
    return [
        Setting("algorithm.adv_estimator", "gae"),
        Setting("algorithm.gamma", rl.gamma),
        Setting("algorithm.lam", rl.gae_lambda),
        Setting("trainer.critic_warmup", rl.value_warmup_steps + 1 if rl.value_warmup_steps else 0, warm),
    ]


def _kl_control(plan: Plan) -> list[Setting]:
    rl = plan.rl
    found = [
        Setting("algorithm.kl_ctrl.type", rl.kl_control.value),
        Setting("algorithm.kl_ctrl.kl_coef", rl.kl_coef),
    ]
    if rl.kl_control is KlControl.ADAPTIVE:
        why = f"Nats per token: rl.adaptive_kl_target, {rl.adaptive_kl_target:g} per reply, for replies of full length."
        found += [
            Setting("algorithm.kl_ctrl.target_kl", rl.adaptive_kl_target / rl.sampling.max_tokens, why),
            Setting("algorithm.kl_ctrl.horizon", rl.adaptive_kl_horizon, "Replies, as in Solon."),
        ]
    return found


VERL = Trainer(
    name="verl",
    title="verl",
    version="0.9.1",
    least_samples=1,
    device="cpu",
    settings=settings,
    left=left_of_values,
    write_prompts=write_prompts,
    suffix=".parquet",
    files=("reward.py", "check.py", "reward_manager.py"),
    templates={"launch.sh": "launch-verl.sh", "README.md": "readme-verl.md"},
)
