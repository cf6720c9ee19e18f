"""OpenRLHF's vocabulary: PPO with a value function, or RLOO, on many nodes.

Read from the source of 0.11.2: `cli/train_ppo_ray.py` (settings), `datasets/prompts_dataset.py` (prompts),
`utils/agent.py` (rewards), `models/loss.py` and `utils/deepspeed/deepspeed.py` (losses, learning rates),
`trainer/ppo_utils/` (KL, advantages). A prompt is a JSON line with its messages as `input`; the `label`, which goes to
the reward function untouched, holds the same messages as JSON, so that nothing has to be read back from rendered text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from solon.config.recipe import Aggregation, KlControl
from solon.export.trainers.trainer_plan import (
    ADAM_BETAS,
    ADAM_EPSILON,
    UNCLIPPED,
    Left,
    Plan,
    Setting,
    Trainer,
    left_of_values,
)
from solon.export.trainers.trainer_prompts import HandoffPrompt
from solon.runs.files import write_atomically


def write_prompts(prompts: Sequence[HandoffPrompt], path: Path) -> None:
    """Prompts as JSON Lines."""
    lines = [
        json.dumps(
            {
                "input": prompt.messages,
                "label": json.dumps(prompt.messages),
                "datasource": prompt.kind.value,
                "row_id": prompt.row_id,
            }
        )
        for prompt in prompts
    ]
    write_atomically(path, "".join(f"{line}\n" for line in lines))


def settings(plan: Plan) -> list[Setting]:
    """The recipe's settings as options of `openrlhf.cli.train_ppo_ray`."""
    return [*_models_and_data(plan), *_rollout(plan), *_learning(plan)]


def _models_and_data(plan: Plan) -> list[Setting]:
    critic = (
        "Else it would start as a copy of the actor. Its values begin off by the centre, which rewards have taken off."
        if plan.shared_tokens
        else "The preference model has other tokens than the policy, so the value function starts from the policy."
    )
    value = [] if plan.leaves_one_out else [Setting("critic.model_name_or_path", f"$HERE/{plan.critic}", critic)]
    return [
        Setting("actor.model_name_or_path", "$HERE/policy", "SL-CAI; the reference is this model too."),
        *value,
        Setting("reward.remote_url", "$HERE/reward.py", "A Python file in spite of the name."),
        Setting("data.prompt_dataset", "$HERE/prompts/train.jsonl", "OpenRLHF shuffles it; the shares of kinds hold."),
        Setting("data.input_key", "input"),
        Setting("data.label_key", "label"),
        Setting("data.apply_chat_template", True, "The policy's tokenizer carries the template that it learned with."),
        Setting("data.max_len", min(plan.window, plan.longest_prompt + plan.rl.sampling.max_tokens + 1)),
    ]


def _rollout(plan: Plan) -> list[Setting]:
    rl, shape = plan.rl, plan.shape
    limit = rl.clip_score or UNCLIPPED
    return [
        Setting("rollout.batch_size", shape.prompts, "Prompts of one step."),
        Setting("rollout.n_samples_per_prompt", shape.samples),
        Setting(
            "rollout.max_new_tokens", rl.sampling.max_tokens, "Of prompts that leave less room none was handed on."
        ),
        Setting("rollout.temperature", rl.sampling.temperature),
        Setting("rollout.top_p", rl.sampling.top_p),
        Setting("train.num_episodes", 1, f"The file holds the prompts of {plan.steps} steps."),
        Setting("reward.clip_range", (-limit, limit), "reward.py has clipped already, where rl.clip_score says so."),
    ]


def _learning(plan: Plan) -> list[Setting]:
    rl, shape = plan.rl, plan.shape
    found = [
        *_advantages(plan),
        Setting("algo.kl.init_coef", rl.kl_coef, "In the reward, for each token, as in Solon."),
        Setting("algo.kl.estimator", "k1"),
        Setting("train.batch_size", shape.update, "Replies of one update, on all GPUs together."),
        Setting("train.max_epochs", rl.epochs, "Passes over each rollout; Solon's early end at a large KL is missing."),
        Setting("actor.eps_clip", rl.clip_ratio),
        Setting("actor.loss_agg_mode", _AGGREGATION[rl.loss_aggregation]),
        Setting("train.seed", plan.seed),
    ]
    if rl.dual_clip is not None:
        found.append(Setting("actor.dual_clip", rl.dual_clip))
    found += _optimiser("actor", rl.learning_rate, plan)
    if not plan.leaves_one_out:
        warm = f"Steps count from 0 and the policy rests up to this one: {rl.value_warmup_steps} steps for the critic."
        found += [
            Setting("critic.value_clip", rl.clip_value or UNCLIPPED),
            Setting("critic.freezing_steps", rl.value_warmup_steps - 1, warm),
            *_optimiser("critic", rl.value_learning_rate, plan),
        ]
    if rl.lora is not None:
        found += [
            Setting("ds.lora.rank", rl.lora.rank, "One setting for policy and value function."),
            Setting("ds.lora.alpha", round(rl.lora.alpha), "Whole numbers only."),
        ]
    return found


_AGGREGATION = {Aggregation.TOKENS: "token-mean", Aggregation.REPLIES: "seq-mean-token-mean"}


def _advantages(plan: Plan) -> list[Setting]:
    rl = plan.rl
    if plan.leaves_one_out:
        why = "Without a value function; the baseline is of the scores alone, where Solon's has the KL penalty in it."
        return [Setting("algo.advantage.estimator", "rloo", why)]
    return [
        Setting("algo.advantage.estimator", "gae"),
        Setting("algo.advantage.gamma", rl.gamma),
        Setting("algo.advantage.lambd", rl.gae_lambda),
    ]


def _optimiser(role: str, rate: float, plan: Plan) -> list[Setting]:
    rl = plan.rl
    schedule = [Setting(f"{role}.lr_scheduler", "constant")]
    if rl.warmup_steps:
        why = f"Of all updates: {rl.warmup_steps} steps, by updates rather than by steps, and from 0."
        schedule = [
            Setting(f"{role}.lr_scheduler", "constant_with_warmup"),
            Setting(f"{role}.lr_warmup_ratio", min(1.0, rl.warmup_steps / plan.steps), why),
        ]
    return [
        Setting(f"{role}.adam.lr", rate),
        Setting(f"{role}.adam.eps", ADAM_EPSILON),
        Setting(f"{role}.adam.betas", ADAM_BETAS),
        *schedule,
        Setting(f"{role}.max_norm", rl.max_grad_norm),
    ]


def left(plan: Plan) -> list[Left]:
    """What OpenRLHF has no equal of: it reads the KL per token, and calls its adaptive coefficient out of order."""
    rl = plan.rl
    found = left_of_values(plan)
    if rl.kl_control is KlControl.ADAPTIVE:
        told = (
            f"{rl.kl_control.value}, target {rl.adaptive_kl_target:g} nats per reply, horizon {rl.adaptive_kl_horizon}"
        )
        instead = (
            f"the coefficient stays at {rl.kl_coef:g}; OpenRLHF's own source says that its adaptive one does not work"
        )
        found.append(Left("rl.kl_control", told, instead))
    return found


OPENRLHF = Trainer(
    name="openrlhf",
    title="OpenRLHF",
    version="0.11.2",
    least_samples=1,
    device="cpu",
    settings=settings,
    left=left,
    write_prompts=write_prompts,
    suffix=".jsonl",
    files=("reward.py", "check.py"),
    templates={"launch.sh": "launch-openrlhf.sh", "README.md": "readme-openrlhf.md"},
)
