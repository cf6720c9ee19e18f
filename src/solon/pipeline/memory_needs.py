"""How much memory a run needs at least, compared with what the machine has.

The estimate is a lower bound: every network of a stage at once, 4 bytes a parameter where it is only read in float32,
16 where all of it learns (weight, gradient and Adam's two moments; Kingma and Ba 2015), and 4 with LoRA, since adapters
are small. Activations and caches come on top, so a run that fits may still fail, and one that does not fit always does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from solon.config.recipe import Algorithm, LoraSettings, NetworkSharing, Recipe
from solon.errors import RecipeError
from solon.model_folders.system_memory import SystemMemory

READ, LEARNT = 4, 16
"""Bytes for a parameter that is read, and for one that learns."""
ASKING, FINETUNING = "asking models", "finetuning"
PREFERENCES, REINFORCEMENT = "the preference model", "reinforcement learning"
"""What memory is needed for."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How many parameters the models of a run have, by the part that they play."""

    asked: int
    """Bytes, not parameters, of the largest model that is asked, or of critic and reviser, which take turns."""
    pretrained: int
    preference: int
    policy: int
    """What reinforcement learning starts from."""
    scorers: int = 0
    """Preference models that were brought."""


def needs(recipe: Recipe, sizes: Parameters) -> Mapping[str, int]:
    """Bytes that must be in memory at once, at least, by what they are for."""
    tuned, preferences = recipe.finetune.training.lora, recipe.preference.training.lora
    return {
        ASKING: sizes.asked,
        FINETUNING: _trained(sizes.pretrained, tuned),
        PREFERENCES: _trained(sizes.preference, preferences),
        REINFORCEMENT: _reinforced(recipe, sizes),
    }


def _trained(parameters: int, adapter: LoraSettings | None) -> int:
    return parameters * (LEARNT if adapter is None else READ)


def _reinforced(recipe: Recipe, sizes: Parameters) -> int:
    settings = recipe.rl
    policy = _trained(sizes.policy, settings.lora)
    if settings.lora is None:
        policy += READ * sizes.policy  # the reference, which with LoRA is the policy without its adapter
    if settings.algorithm is Algorithm.DPO:
        return policy
    scorers = READ * sizes.scorers
    if settings.networks is NetworkSharing.SHARED:
        return READ * sizes.pretrained + scorers
    scorers += READ * sizes.preference * (1 if settings.held_out_share is None else 2)
    value = _trained(sizes.preference, settings.lora) if settings.algorithm is Algorithm.PPO else 0
    return policy + value + scorers


def refuse_too_large(needed: Mapping[str, int], there: SystemMemory | None) -> str | None:
    """Raise RecipeError for more than the machine has; returns a warning when too little of it is free now."""
    most = max(needed, key=lambda what: needed[what])
    if there is None or needed[most] <= there.free:
        return None
    need = f"{most} needs {gigabytes(needed[most])} of memory at least"
    if needed[most] > there.total:
        raise RecipeError(
            f"{need}, and this machine has {gigabytes(there.total)}", place="memory", remedy=_REMEDIES[most]
        )
    return f"{need[0].upper()}{need[1:]}, and only {gigabytes(there.free)} are free now; close other programs"


_REMEDIES = {
    ASKING: "Name a smaller model: --set model=FOLDER",
    FINETUNING: "Train an adapter, --set finetune.training.lora.rank=16, or a smaller model",
    PREFERENCES: "Train an adapter, --set preference.training.lora.rank=16, or name a smaller model: "
    "--set models.preference=FOLDER",
    REINFORCEMENT: "Share one backbone, --set rl.networks=shared with adapters, train an adapter, "
    "--set rl.lora.rank=16, or stop before it with --until preference-model",
}


def gigabytes(count: int) -> str:
    """Bytes for a person: `2.7 GB`, or below a tenth of that `34 MB`."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{max(1, round(count / 1e6))} MB"
