"""The memory that the models of a recipe need, and the memory that is there for them.

Models that are asked behind servers need none here. What is compared is one process's memory: the GPU's where there is
one, else the machine's, or, for a dry run of models that are not here, that of the planned GPU.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch

from solon.config.model_spec import ModelSpec
from solon.config.recipe import JUDGE_GRADER, Method, Recipe
from solon.config.served_model import OPENAI
from solon.model_folders.model_shape import ModelShape
from solon.model_folders.system_memory import SystemMemory, system_memory
from solon.pipeline.absent_models import shape_of, shards_of
from solon.pipeline.memory_needs import (
    ASKING,
    FINETUNING,
    PREFERENCES,
    REINFORCEMENT,
    Need,
    RunShapes,
    needs,
    refuse_too_large,
)
from solon.pipeline.memory_parts import FULL, HALF
from solon.stages.plan import PREFERENCE_MODEL, RL_CAI, RLHF, SL_CAI
from solon.stages.reply_judging import judge_of

_FOR = {SL_CAI: FINETUNING, PREFERENCE_MODEL: PREFERENCES, RL_CAI: REINFORCEMENT, RLHF: REINFORCEMENT}


def run_needs(
    recipe: Recipe, coming: Collection[str], opened: Collection[str], *, planned: bool = False
) -> Mapping[str, Need]:
    """What the stages still to come need, by what it is for; `planned` is for the GPUs in `planning`.

    `opened` are the names of the models that these stages open; others are not looked at. Models of unknown shape are
    left out. Raises ModelError for a folder that is missing or damaged.
    """
    wanted = {ASKING, *(_FOR[stage] for stage in coming if stage in _FOR)}
    found = needs(recipe, _shapes(recipe, frozenset(opened), planned))
    return {what: need for what, need in found.items() if what in wanted}


def memory_line(recipe: Recipe, needed: Mapping[str, Need], *, planned: bool = False) -> str | None:
    """Raise RecipeError when the needs exceed the memory that is there; a line when it will be tight."""
    gpu = recipe.planning.gpu if planned else None
    if planned and gpu is None:
        return None
    if gpu is not None:
        size = round(gpu.memory_gb * 1e9)
        return refuse_too_large(needed, SystemMemory(size, size), f"the planned {gpu.name}")
    if recipe.engine.device_map is not None:  # models that are asked may lie on several devices
        needed = {what: need for what, need in needed.items() if what != ASKING}
        return refuse_too_large(needed, _memory_of_models(), "one device, which engine.device_map does not change,")
    return refuse_too_large(needed, _memory_of_models())


def _shapes(recipe: Recipe, opened: frozenset[str], planned: bool) -> RunShapes:
    names, rl = recipe.models, recipe.rl

    def of(name: str | None) -> ModelShape | None:
        if name is None or name not in opened or ModelSpec.parse(name).scheme == OPENAI:
            return None
        return shape_of(name, recipe)

    def all_of(*given: str | None) -> tuple[ModelShape, ...]:
        return tuple(shape for name in dict.fromkeys(given) if (shape := of(name)) is not None)

    critic = names.critic or names.assistant
    reviser = names.reviser or critic
    judge = judge_of(recipe) if recipe.measure.grader == JUDGE_GRADER else None
    judges = [each or names.assistant for each in names.judges]
    return RunShapes(
        asked=all_of(names.assistant, names.pretrained, critic, reviser, *judges, judge),
        together=all_of(critic, reviser) if critic != reviser else (),
        pretrained=of(names.pretrained),
        preference=of(names.preference or names.pretrained),
        policy=of(names.policy or names.pretrained) if recipe.method is Method.RLHF else of(names.pretrained),
        scorers=all_of(rl.scorer, rl.held_out_scorer),
        asked_width=HALF if planned or torch.cuda.is_available() else FULL,
        shards=shards_of(recipe.planning) if planned else 1,
    )


def _memory_of_models() -> SystemMemory | None:
    """The memory that models are loaded into: the GPU's where there is one."""
    if not torch.cuda.is_available():
        return system_memory()
    free, total = torch.cuda.mem_get_info()
    return SystemMemory(total, free)
