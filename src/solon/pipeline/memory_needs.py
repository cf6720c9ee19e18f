"""How much memory a run needs, compared with what the machine has.

`needs` adds up the models that are in memory at the same time (`solon.pipeline.memory_parts` says what each needs and
what is assumed). Two comparisons follow: a run whose weights and optimiser state alone exceed the memory can never fit
and is refused; where only the estimate with activations and caches exceeds what is there, a line says so. Training in
shards divides what learns and its reference by the number of GPUs; models that score or sample stay whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from solon.config.recipe import Algorithm, Dtype, NetworkSharing, Recipe, TrainingSettings, ValueFunction
from solon.config.settings import Precision
from solon.errors import RecipeError
from solon.model_folders.model_shape import ModelShape
from solon.model_folders.system_memory import SystemMemory
from solon.pipeline.memory_parts import (
    FULL,
    HALF,
    NOTHING,
    MemoryParts,
    TrainedHow,
    asked,
    gigabytes,
    in_words,
    largest,
    read_only,
    trained,
)
from solon.stages.plan import RL_CAI, out_of_round

ASKING, FINETUNING = "asking models", "finetuning"
PREFERENCES, REINFORCEMENT = "the preference model", "reinforcement learning"
"""What memory is needed for."""


@dataclass(frozen=True, slots=True)
class RunShapes:
    """The shapes of the models of a run, by the part that they play; None where it is not known."""

    asked: tuple[ModelShape, ...]
    """Of the models that are asked on this machine, one at a time."""
    pretrained: ModelShape | None
    preference: ModelShape | None
    policy: ModelShape | None
    """What reinforcement learning starts from."""
    together: tuple[ModelShape, ...] = ()
    """Critic and reviser, when they are two: they take turns and are both loaded."""
    scorers: tuple[ModelShape, ...] = ()
    """Preference models that were brought."""
    asked_width: int = FULL
    """Bytes of a weight in models that are asked with `engine.dtype: auto`."""
    shards: int = 1
    """GPUs that share what learns."""


@dataclass(frozen=True, slots=True)
class Need:
    """What one part of a run needs, and the same in words."""

    parts: MemoryParts
    words: str


def needs(recipe: Recipe, shapes: RunShapes) -> Mapping[str, Need]:
    """What must be in memory at once, by what it is for; parts with a model of unknown shape are left out."""
    found = {ASKING: _asking(recipe, shapes)}
    for what, shape, settings in (
        (FINETUNING, shapes.pretrained, recipe.finetune.training),
        (PREFERENCES, shapes.preference, recipe.preference.training),
    ):
        if shape is not None:
            how = _how(settings)
            parts = trained(shape, how, logits=what is FINETUNING).in_shards(shapes.shards)
            found[what] = Need(parts, in_words(shape, how, parts))
    if shapes.policy is not None and shapes.preference is not None and shapes.pretrained is not None:
        found[REINFORCEMENT] = _reinforced(recipe, shapes, shapes.policy, shapes.preference)
    return found


def _how(settings: TrainingSettings) -> TrainedHow:
    return TrainedHow(settings.micro_batch_tokens, settings.lora, settings.precision, settings.activations)


def _asking(recipe: Recipe, shapes: RunShapes) -> Need:
    """The largest model that is asked with its rows, or critic and reviser with the rows of one of them."""
    engine, tokens = recipe.engine, recipe.responses.sampling.max_tokens
    width = {Dtype.AUTO: shapes.asked_width, Dtype.FLOAT32: FULL, Dtype.BFLOAT16: HALF}[engine.dtype]
    alone = [_bounded(recipe, asked(shape, width, engine.batch_size, tokens)) for shape in shapes.asked]
    several = NOTHING
    for shape in shapes.together:
        several += MemoryParts(shape.parameters * width)
    parts = largest([*alone, several])
    return Need(parts, f"a model of {gigabytes(parts.weights)} with {engine.batch_size} rows")


def _bounded(recipe: Recipe, parts: MemoryParts) -> MemoryParts:
    """The engine keeps rows back rather than exceed `engine.memory_gib`."""
    if recipe.engine.memory_gib is None:
        return parts
    return MemoryParts(parts.weights, cache=min(parts.cache, round(recipe.engine.memory_gib * (1 << 30))))


def _reinforced(recipe: Recipe, shapes: RunShapes, policy: ModelShape, preference: ModelShape) -> Need:
    settings = recipe.rl
    if settings.algorithm is Algorithm.DPO:
        training = settings.dpo.training
        how = _how(training.model_copy(update={"lora": training.lora or settings.lora}))
        parts = trained(policy, how)
        if how.lora is None:
            parts += read_only(
                policy, how.precision
            )  # the reference, which with LoRA is the policy without its adapter
        parts = parts.in_shards(shapes.shards)
        return Need(parts, in_words(policy, how, parts))
    how = TrainedHow(settings.micro_batch_tokens, settings.lora, settings.precision, settings.activations)
    scorers = NOTHING
    for shape in shapes.scorers:
        scorers += read_only(shape, how.precision)
    learning = trained(policy, how)
    rows = min(recipe.engine.batch_size, settings.prompts_per_step * settings.samples_per_prompt)
    width = FULL if how.precision is Precision.FLOAT32 else HALF
    sampling = _bounded(recipe, asked(policy, width, rows, settings.sampling.max_tokens))
    passing = MemoryParts(0, activations=max(learning.activations - sampling.cache, 0), cache=sampling.cache)
    # A value head on the policy's backbone is one row of weights, which is not counted.
    values_apart = settings.algorithm is Algorithm.PPO and settings.value_function is ValueFunction.SEPARATE
    if settings.networks is NetworkSharing.SHARED:
        learners = 2 if values_apart else 1
        parts = MemoryParts(learning.weights, learners * learning.optimiser) + passing + scorers
        return Need(parts, f"one backbone with all adapters: {in_words(policy, how, parts)}")
    learnt = MemoryParts(learning.weights, learning.optimiser)
    if how.lora is None or RL_CAI in map(out_of_round, recipe.warm_start.models):
        learnt += read_only(policy, how.precision)  # the reference, loaded by itself
    if values_apart:
        value = trained(preference, how, logits=False)
        learnt += MemoryParts(value.weights, value.optimiser)
    scored = read_only(preference, how.precision)
    if settings.held_out_share is not None:
        scored += scored
    copies = MemoryParts(policy.parameters * FULL) if shapes.shards > 1 else NOTHING  # what samples
    parts = learnt.in_shards(shapes.shards) + scored + scorers + copies + passing
    return Need(parts, f"policy, reference, values and scores: {in_words(policy, how, parts)}")


def refuse_too_large(
    needed: Mapping[str, Need], there: SystemMemory | None, device: str = "this machine"
) -> str | None:
    """Raise RecipeError for more than the device can ever hold; returns a warning where it may not be enough now."""
    if there is None or not needed:
        return None
    most = max(needed, key=lambda what: needed[what].parts.least)
    least = needed[most].parts.least
    need = f"{most} needs {gigabytes(least)} of memory at least"
    if least > there.total:
        raise RecipeError(f"{need}, and {device} has {gigabytes(there.total)}", place="memory", remedy=_REMEDIES[most])
    if least > there.free:
        return f"{need[0].upper()}{need[1:]}, and only {gigabytes(there.free)} are free now; close other programs"
    most = max(needed, key=lambda what: needed[what].parts.total)
    if (total := needed[most].parts.total) <= there.free:
        return None
    return (
        f"{most[0].upper()}{most[1:]} needs about {gigabytes(total)} of memory with activations and caches, and "
        f"{gigabytes(there.free)} are free. {_TIGHT[most]}"
    )


_LESS = "If it runs out, lower {0}.micro_batch_tokens, or use --set {0}.activations=recomputed"
_TIGHT = {
    ASKING: "The engine asks fewer prompts at once",
    FINETUNING: _LESS.format("finetune.training"),
    PREFERENCES: _LESS.format("preference.training"),
    REINFORCEMENT: _LESS.format("rl"),
}
_REMEDIES = {
    ASKING: "Name a smaller model, --set model=FOLDER, or ask it in bfloat16, --set engine.dtype=bfloat16; several "
    "GPUs hold one model with --set engine.device_map=auto",
    FINETUNING: "Train an adapter, --set finetune.training.lora.rank=16, or a smaller model",
    PREFERENCES: "Train an adapter, --set preference.training.lora.rank=16, or name a smaller model: "
    "--set models.preference=FOLDER",
    REINFORCEMENT: "Share one backbone, --set rl.networks=shared with adapters, train an adapter, "
    "--set rl.lora.rank=16, or stop before it with --until preference-model",
}
