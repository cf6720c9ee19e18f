"""What every trainer is told of a run, in Solon's words: the trainers' modules translate it, one each.

A step of Solon's is so many prompts with so many replies each, cut into minibatches. Trainers want these numbers to
divide one another, and some need at least two replies to a prompt, so the shape of a step is made to fit: never smaller
than the recipe's, and `StepShape` says what it came to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from solon.config.recipe import Algorithm, Kept, ReinforcementSettings
from solon.export.trainers.trainer_prompts import HandoffPrompt

UNCLIPPED = 1e6
"""Stands for a clip that is switched off."""
ADAM_EPSILON, ADAM_BETAS = 1e-5, (0.9, 0.95)
"""The optimiser of stage 08."""

Value = str | int | float | bool | tuple[float, ...] | Mapping[str, float]


@dataclass(frozen=True, slots=True)
class StepShape:
    """How one step is cut: `prompts` with `samples` replies each, in minibatches of `minibatch` prompts."""

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


def step_shape(settings: ReinforcementSettings, least_samples: int) -> StepShape:
    """The smallest step that holds the recipe's replies in whole, equal minibatches of whole groups of samples."""
    if settings.algorithm is Algorithm.RLOO:
        least_samples = max(least_samples, 2)
    samples = max(settings.samples_per_prompt, least_samples)
    replies = settings.prompts_per_step * settings.samples_per_prompt
    minibatch = -(-replies // (settings.minibatches * samples))
    return StepShape(minibatch * settings.minibatches, samples, minibatch)


@dataclass(frozen=True, slots=True)
class Plan:
    """One hand-off: `longest_prompt` and `window` in tokens, `shared_tokens` whether policy and preference model agree.

    Where they do not, a value function that reads the policy's tokens cannot start from the preference model.
    """

    rl: ReinforcementSettings
    seed: int
    steps: int
    shape: StepShape
    longest_prompt: int
    window: int
    shared_tokens: bool

    @property
    def critic(self) -> str:
        """The folder that the value function starts from."""
        return "preference-model" if self.shared_tokens else "policy"

    @property
    def leaves_one_out(self) -> bool:
        """Whether the recipe learns by RLOO, which needs no value function."""
        return self.rl.algorithm is Algorithm.RLOO

    @property
    def updates_a_step(self) -> int:
        """Optimiser steps in one of Solon's."""
        return self.shape.minibatches * self.rl.epochs

    @property
    def fits_recipe(self) -> bool:
        """Whether a step is exactly the recipe's."""
        rl = self.rl
        return (self.shape.prompts, self.shape.samples) == (rl.prompts_per_step, rl.samples_per_prompt)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting in a trainer's words; `meaning` says where it differs from the recipe's, or why it is there."""

    key: str
    value: Value
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Left:
    """A setting of the recipe that a trainer has no equal of: its dotted name, its value, and what happens instead."""

    key: str
    value: object
    instead: str


def left_by_all(plan: Plan) -> list[Left]:
    """Settings in force that none of the trainers can be told."""
    rl = plan.rl
    if rl.algorithm is Algorithm.DPO:
        instead = "the folder is for learning from rollouts; what `rl.dpo` says is not used"
        found = [Left("rl.algorithm", rl.algorithm.value, instead)]
    else:
        found = []
    if rl.target_kl is not None:
        found.append(
            Left("rl.target_kl", rl.target_kl, "every pass over a rollout is made, however far the policy moved")
        )
    rules = {name: value for name, value in rl.stop.model_dump().items() if value is not None and name != "patience"}
    if rules:
        told = ", ".join(f"{name} {value:g}" for name, value in rules.items())
        found.append(Left("rl.stop", told, "nothing ends the run early: watch the trainer's own metrics"))
    if rl.held_out_scorer is not None:
        found.append(Left("rl.held_out_scorer", rl.held_out_scorer, "no second preference model reads the replies"))
    if rl.keep is Kept.BEST:
        found.append(
            Left("rl.keep", rl.keep.value, "the last policy is what remains, beside the trainer's checkpoints")
        )
    return found


def left_of_values(plan: Plan) -> list[Left]:
    """What a trainer cannot be told that has one lambda for advantages and returns."""
    rl = plan.rl
    if plan.leaves_one_out or rl.gae_lambda_value in (None, rl.gae_lambda):
        return []
    return [
        Left(
            "rl.gae_lambda_value",
            rl.gae_lambda_value,
            f"returns are made with rl.gae_lambda, {rl.gae_lambda:g}, as advantages are",
        )
    ]


@dataclass(frozen=True, slots=True)
class Trainer:
    """A trainer that a run can be handed to."""

    name: str
    """As `solon export` calls it."""
    title: str
    version: str
    """The release whose source the settings were read from."""
    least_samples: int
    """Replies to a prompt that its algorithm needs."""
    device: str
    """Where its processes can hold a preference model: `auto` takes a GPU when there is one."""
    settings: Callable[[Plan], Sequence[Setting]]
    left: Callable[[Plan], Sequence[Left]]
    """The recipe's settings that it has no equal of, beside those of `left_by_all`."""
    write_prompts: Callable[[Sequence[HandoffPrompt], Path], None]
    suffix: str
    """Of its files of prompts."""
    files: tuple[str, ...]
    """What it gets of `files/`."""
    templates: Mapping[str, str]
    """What is filled in for it: file to write, template."""
