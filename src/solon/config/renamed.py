"""Settings that had another name before 0.2: an error about an old name gives the new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_TRAINING = {
    "batch": "batch_size",
    "clip": "max_grad_norm",
    "warmup": "warmup_ratio",
    "adapter": "lora",
    "micro_tokens": "micro_batch_tokens",
}
_RL = {
    "drawing": "sampling",
    "trace": "gae_lambda",
    "trace_value": "gae_lambda_value",
    "kl": "kl_coef",
    "kl_stop": "target_kl",
    "kl_target": "adaptive_kl_target",
    "kl_horizon": "adaptive_kl_horizon",
    "discount": "gamma",
    "clip_gradient": "max_grad_norm",
    "warmup": "warmup_steps",
    "value_warmup": "value_warmup_steps",
    "unfinished_penalty": "missing_eos_penalty",
    "micro_tokens": "micro_batch_tokens",
    "adapter": "lora",
    "aggregation": "loss_aggregation",
    "memory": "networks",
    "direct": "dpo",
}
RENAMED: Mapping[str, str] = {
    **{f"rl.{old}": f"rl.{new}" for old, new in _RL.items()},
    **{
        f"{group}.training.{old}": f"{group.replace('direct', 'dpo')}.training.{new}"
        for group in ("finetune", "preference", "rl.direct", "rl.dpo")
        for old, new in _TRAINING.items()
    },
    "engine.batch": "engine.batch_size",
    "engine.memory": "engine.memory_gib",
    "fitness": "judge_check",
    "feedback.least_letter_mass": "feedback.min_letter_mass",
    "measure.drawing": "measure.sampling",
    "measure.rater": "measure.grader",
    "pairs.drawing": "pairs.sampling",
    "preference.human": "preference.human_helpfulness",
    "red_team.drawing": "red_team.sampling",
    "red_team.longest": "red_team.max_words",
    "red_team.shortest": "red_team.min_words",
    "responses.drawing": "responses.sampling",
}
"""The new name of every renamed setting or group, by its old one."""


def new_name(path: Sequence[str]) -> str | None:
    """The new name of a renamed setting, or of a setting in a renamed group; None for any other."""
    for length in range(len(path), 0, -1):
        if (new := RENAMED.get(".".join(path[:length]))) is not None:
            rest = list(path[length:])
            # A setting of a renamed group may be renamed too.
            whole = [*new.split("."), *rest]
            return new_name(whole) or ".".join(whole) if rest else new
    return None
