"""TRL's settings from a recipe: RLOO, on one machine or on several through accelerate.

TRL has no PPO since 1.13. RLOO has no value function, so TRL has no settings for one, and it needs at least two replies
to each prompt. Names and meanings are those of TRL 1.16 (`trainer/rloo_config.py`,
`trainer/rloo_trainer.py`); a test trains with that release.
"""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from solon.config.recipe import Algorithm, Kept, KlControl, ReinforcementSettings

TRL_VERSION = "1.16.0"
LEAST_SAMPLES = 2
"""Replies to a prompt that RLOO needs."""
ADAM_EPSILON, ADAM_BETAS = 1e-5, (0.9, 0.95)
"""The optimiser of stage 08."""


@dataclass(frozen=True, slots=True)
class StepShape:
    """The size of one step: `prompts` with `samples` replies each, in minibatches of `minibatch` prompts."""

    prompts: int
    samples: int
    minibatch: int

    @property
    def replies(self) -> int:
        """Replies of one step."""
        return self.prompts * self.samples

    @property
    def update(self) -> int:
        """Replies of one update."""
        return self.minibatch * self.samples

    @property
    def minibatches(self) -> int:
        """Updates of one pass over a step's replies."""
        return self.prompts // self.minibatch


def step_shape(rl: ReinforcementSettings) -> StepShape:
    """The smallest step that holds the recipe's replies in whole, equal minibatches of whole groups of samples."""
    samples = max(rl.samples_per_prompt, LEAST_SAMPLES)
    replies = rl.prompts_per_step * rl.samples_per_prompt
    minibatch = -(-replies // (rl.minibatches * samples))
    return StepShape(minibatch * rl.minibatches, samples, minibatch)


@dataclass(frozen=True, slots=True)
class TrlPlan:
    """One training: the recipe's settings, its seed, and the number of steps."""

    rl: ReinforcementSettings
    seed: int
    steps: int

    @property
    def shape(self) -> StepShape:
        """The size of one step."""
        return step_shape(self.rl)

    @property
    def updates_per_step(self) -> int:
        """Optimiser steps in one step of the recipe."""
        return self.shape.minibatches * self.rl.epochs

    @property
    def fits_recipe(self) -> bool:
        """Whether a step has exactly the recipe's size."""
        rl = self.rl
        return (self.shape.prompts, self.shape.samples) == (rl.prompts_per_step, rl.samples_per_prompt)


@dataclass(frozen=True, slots=True)
class ConfigField:
    """A field of `RLOOConfig`; `comment` says why it is set, or where its meaning differs from the recipe's."""

    name: str
    value: str | int | float | bool
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A setting of the recipe that TRL does not have: its name, its value, and what happens instead."""

    setting: str
    value: object
    instead: str


def config_fields(plan: TrlPlan) -> list[ConfigField]:
    """The recipe's settings as fields of `RLOOConfig`."""
    rl, shape = plan.rl, plan.shape
    return [
        ConfigField("max_steps", plan.steps * plan.updates_per_step, f"Optimiser steps: those of {plan.steps} steps."),
        ConfigField("shuffle_dataset", False, "The file is in the order in which Solon draws prompts."),
        ConfigField("generation_batch_size", shape.replies, "Replies of one step, on all GPUs together."),
        ConfigField("num_generations", shape.samples, "Replies to a prompt; RLOO needs at least two."),
        ConfigField("num_iterations", rl.epochs, "Passes over the replies of a step."),
        ConfigField("beta", rl.kl_coef, "In the reward, summed over the reply: log p - log q, as in Solon."),
        ConfigField("epsilon", rl.clip_ratio, "TRL clips the ratio of the whole reply, so the clip binds sooner."),
        _normalisation(rl),
        *_optimiser(plan),
        ConfigField("temperature", rl.sampling.temperature),
        ConfigField("top_p", rl.sampling.top_p),
        ConfigField("max_completion_length", rl.sampling.max_tokens),
        ConfigField("mask_truncated_completions", False, "reward.py penalises a reply that was cut at its limit."),
        ConfigField("save_steps", rl.checkpoint_every * plan.updates_per_step),
        ConfigField("logging_steps", 1),
        ConfigField("report_to", "none"),
        ConfigField("seed", plan.seed),
    ]


def config_yaml(plan: TrlPlan) -> str:
    """The text of `config.yaml`."""
    lines = [f"# Fields of RLOOConfig, TRL {TRL_VERSION}. launch.sh adds output folder and batch size."]
    for field in config_fields(plan):
        lines += [f"# {field.comment}"] if field.comment else []
        lines.append(yaml.safe_dump({field.name: field.value}).rstrip())
    return "\n".join(lines) + "\n"


def unsupported(plan: TrlPlan) -> list[Unsupported]:
    """The active settings of the recipe that TRL does not have."""
    return [*_of_algorithm(plan.rl), *_of_loss(plan.rl), *_of_training(plan.rl)]


def _normalisation(rl: ReinforcementSettings) -> ConfigField:
    if rl.algorithm is Algorithm.RLOO:
        return ConfigField("normalize_advantages", False, "As published, and as in Solon.")
    return ConfigField("normalize_advantages", True, "Solon whitens the advantages of PPO.")


def _optimiser(plan: TrlPlan) -> list[ConfigField]:
    rl = plan.rl
    schedule = [ConfigField("lr_scheduler_type", "constant")]
    if rl.warmup_steps:
        comment = f"Optimiser steps: those of {rl.warmup_steps} steps; from 0."
        schedule = [
            ConfigField("lr_scheduler_type", "constant_with_warmup"),
            ConfigField("warmup_steps", rl.warmup_steps * plan.updates_per_step, comment),
        ]
    return [
        ConfigField("learning_rate", rl.learning_rate),
        *schedule,
        ConfigField("adam_beta1", ADAM_BETAS[0]),
        ConfigField("adam_beta2", ADAM_BETAS[1]),
        ConfigField("adam_epsilon", ADAM_EPSILON),
        ConfigField("weight_decay", 0.0),
        ConfigField("max_grad_norm", rl.max_grad_norm),
        ConfigField("disable_dropout", True),
    ]


def _of_algorithm(rl: ReinforcementSettings) -> list[Unsupported]:
    if rl.algorithm is Algorithm.DPO:
        instead = "RLOO: the folder trains on rollouts, and `rl.dpo` is not used"
        return [Unsupported("rl.algorithm", rl.algorithm.value, instead)]
    if rl.algorithm is Algorithm.RLOO:
        return []
    values = (
        f"learning rate {rl.value_learning_rate:g}, {rl.value_warmup_steps} warm-up steps, lambda {rl.gae_lambda:g}"
    )
    if rl.gae_lambda_value is not None:
        values += f" ({rl.gae_lambda_value:g} for its returns)"
    if rl.gamma != 1:
        values += f", discount {rl.gamma:g}"
    return [
        Unsupported("rl.algorithm", rl.algorithm.value, "RLOO: TRL has no PPO since 1.13"),
        Unsupported("the value function's settings", values, "there is no value function"),
    ]


def _of_loss(rl: ReinforcementSettings) -> list[Unsupported]:
    instead = "one ratio for a whole reply, and the mean over replies"
    found = [Unsupported("rl.loss_aggregation", rl.loss_aggregation.value, instead)]
    if rl.kl_control is KlControl.ADAPTIVE:
        values = f"adaptive, target {rl.adaptive_kl_target:g} nats per reply, horizon {rl.adaptive_kl_horizon}"
        found.append(Unsupported("rl.kl_control", values, f"the coefficient stays at {rl.kl_coef:g}"))
    if rl.dual_clip is not None:
        found.append(Unsupported("rl.dual_clip", rl.dual_clip, "the loss of a bad reply has no upper bound"))
    if rl.lora is not None:
        values = f"rank {rl.lora.rank}, alpha {rl.lora.alpha:g}"
        found.append(Unsupported("rl.lora", values, "train.py trains all weights"))
    return found


def _of_training(rl: ReinforcementSettings) -> list[Unsupported]:
    found = []
    if rl.target_kl is not None:
        instead = "every step makes all its passes, at any KL"
        found.append(Unsupported("rl.target_kl", rl.target_kl, instead))
    rules = {name: value for name, value in rl.stop.model_dump().items() if value is not None and name != "patience"}
    if rules:
        values = ", ".join(f"{name} {value:g}" for name, value in rules.items())
        found.append(Unsupported("rl.stop", values, "nothing stops the training early: watch TRL's metrics"))
    if rl.held_out_scorer is not None:
        instead = "no second preference model scores the replies"
        found.append(Unsupported("rl.held_out_scorer", rl.held_out_scorer, instead))
    if rl.keep is Kept.BEST:
        found.append(Unsupported("rl.keep", rl.keep.value, "the last policy is kept, and TRL's checkpoints"))
    return found
