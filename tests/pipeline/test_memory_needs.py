"""The memory that a run needs, by hand, and what is said where there is less."""

from dataclasses import replace

import pytest

from solon.config.known_shapes import KNOWN_SHAPES
from solon.config.loading import load_recipe
from solon.config.recipe import LoraSettings, Recipe
from solon.config.settings import Activations, Precision
from solon.errors import RecipeError
from solon.model_folders.model_shape import ModelShape
from solon.model_folders.system_memory import SystemMemory
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
from solon.pipeline.memory_parts import MemoryParts, TrainedHow, billions, gigabytes, in_words, read_only, trained

SEVEN = ModelShape(parameters=7, matrices=7, sides=0, layers=1, hidden=1, inner=1, keys=1, vocabulary=1)
"""With adapters of no size, so that sums are plain."""
RUN = RunShapes(asked=(SEVEN,), pretrained=SEVEN, preference=SEVEN, policy=SEVEN)
BILLIONS = ModelShape.known(KNOWN_SHAPES["Qwen/Qwen2.5-7B"])


def of(*settings: str) -> Recipe:
    return load_recipe("testbed", (), settings)


def least(recipe: Recipe, shapes: RunShapes = RUN) -> dict[str, int]:
    return {what: need.parts.least for what, need in needs(recipe, shapes).items()}


def test_in_full_weight_gradient_and_two_moments_are_counted() -> None:
    found = least(of())
    assert (found[ASKING], found[FINETUNING], found[PREFERENCES]) == (28, 112, 112)
    # Policy and value function learn, reference and preference model are read.
    assert found[REINFORCEMENT] == 112 + 28 + 112 + 28
    assert least(of("rl.value_function=policy_backbone"))[REINFORCEMENT] == 112 + 28 + 28


def test_adapters_leave_the_weights_alone() -> None:
    lora = [f"{part}.lora.rank=8" for part in ("finetune.training", "preference.training", "rl")]
    found = least(of(*lora))
    assert (found[FINETUNING], found[PREFERENCES], found[REINFORCEMENT]) == (28, 28, 28 + 28 + 28)
    assert least(of(*lora, "rl.networks=shared"))[REINFORCEMENT] == 28
    assert least(of(*lora, "rl.algorithm=dpo"))[REINFORCEMENT] == 28
    assert least(of(*lora, "rl.value_function=policy_backbone"))[REINFORCEMENT] == 28 + 28
    assert least(of("rl.algorithm=dpo"))[REINFORCEMENT] == 112 + 28
    assert least(of(*lora, "rl.algorithm=rloo", "rl.samples_per_prompt=2"))[REINFORCEMENT] == 28 + 28
    warm = ["warm_start.models.rl-cai.folder=there", "warm_start.models.rl-cai.hash=0815"]
    assert least(of(*lora, *warm))[REINFORCEMENT] == 4 * 28, "the reference is loaded by itself"
    wide = replace(RUN, pretrained=replace(SEVEN, sides=10))
    assert least(of(*lora), wide)[FINETUNING] == 28 + 8 * 10 * 16


def test_scorers_count() -> None:
    brought = replace(RUN, scorers=(replace(SEVEN, parameters=5),))
    assert least(of(), brought)[REINFORCEMENT] == 280 + 20
    assert least(of("rl.held_out_share=0.5"))[REINFORCEMENT] == 280 + 28


def test_in_bfloat16_frozen_matrices_are_half_as_large_and_what_learns_is_not() -> None:
    tables = replace(SEVEN, matrices=5)
    assert read_only(tables).weights == 28 and read_only(tables, Precision.BFLOAT16).weights == 5 * 2 + 2 * 4
    how = TrainedHow(0, precision=Precision.BFLOAT16)
    assert trained(tables, how).least == 112 and trained(tables, replace(how, lora=LoraSettings())).least == 18
    assert needs(of("engine.dtype=bfloat16"), RUN)[ASKING].parts.weights == 14


def test_shards_divide_what_learns_and_not_what_scores_or_samples() -> None:
    shared = replace(RUN, shards=4)
    assert least(of(), shared)[FINETUNING] == 28
    # (policy, reference and values) over four; the preference model, and the copy that samples, whole.
    assert least(of(), shared)[REINFORCEMENT] == (112 + 28 + 112) // 4 + 28 + 28


def test_a_model_of_unknown_shape_is_left_out() -> None:
    assert set(needs(of(), replace(RUN, preference=None))) == {ASKING, FINETUNING}


def test_activations_and_caches_are_estimated() -> None:
    one = replace(SEVEN, layers=3, hidden=10, keys=4, inner=20, vocabulary=100)
    kept = trained(one, TrainedHow(2)).activations
    assert kept == 2 * (3 * (8 * 10 + 2 * 4 + 4 * 20) * 4 + 3 * 100 * 4)
    assert trained(one, TrainedHow(2), logits=False).activations == 2 * 3 * 168 * 4
    again = trained(one, TrainedHow(2, activations=Activations.RECOMPUTED), logits=False).activations
    assert again == 2 * (168 * 4 + 3 * 10 * 4)
    asking = needs(of("engine.batch_size=5", "responses.sampling.max_tokens=88"), replace(RUN, asked=(one,)))[ASKING]
    assert asking.parts.cache == 5 * (512 + 88) * 2 * 3 * 4 * 4 + 5 * 100 * 4 * 4
    bounded = needs(of("engine.batch_size=5", "engine.memory_gib=0.00001"), replace(RUN, asked=(one,)))[ASKING]
    assert bounded.parts.cache == round(0.00001 * (1 << 30))


def test_a_line_says_what_a_known_model_needs() -> None:
    how = TrainedHow(2048, LoraSettings(rank=16), Precision.BFLOAT16, Activations.RECOMPUTED)
    parts = trained(BILLIONS, how)
    assert in_words(BILLIONS, how, parts) == "7.6 B in bfloat16 with LoRA rank 16 needs about 23.1 GB"
    full = TrainedHow(2048)
    assert "7.6 B in float32 with all weights learning needs about 1" in in_words(
        BILLIONS, full, trained(BILLIONS, full)
    )
    assert billions(494_032_768) == "494 M"


def test_what_cannot_fit_is_refused_and_what_is_tight_is_said() -> None:
    needed = {ASKING: Need(MemoryParts(2 * 10**9), ""), REINFORCEMENT: Need(MemoryParts(30 * 10**9), "")}
    assert refuse_too_large(needed, SystemMemory(total=64 * 10**9, free=40 * 10**9)) is None
    assert refuse_too_large(needed, None) is None and refuse_too_large({}, SystemMemory(1, 1)) is None
    told = refuse_too_large(needed, SystemMemory(total=64 * 10**9, free=8 * 10**9))
    assert told == (
        "Reinforcement learning needs 30.0 GB of memory at least, and only 8.0 GB are free now; close other programs"
    )
    with pytest.raises(RecipeError) as refused:
        refuse_too_large(needed, SystemMemory(total=16 * 10**9, free=8 * 10**9))
    line = str(refused.value)
    assert line.startswith("memory: reinforcement learning needs 30.0 GB of memory at least, and this machine has 16.0")
    assert "--set rl.networks=shared" in line


def test_an_estimate_beyond_what_is_free_warns_and_never_refuses() -> None:
    needed = {FINETUNING: Need(MemoryParts(2 * 10**9, activations=9 * 10**9), "")}
    told = refuse_too_large(needed, SystemMemory(total=8 * 10**9, free=8 * 10**9))
    assert told == (
        "Finetuning needs about 11.0 GB of memory with activations and caches, and 8.0 GB are free. If it runs out, "
        "lower finetune.training.micro_batch_tokens, or use --set finetune.training.activations=recomputed"
    )


@pytest.mark.parametrize(("count", "shown"), [(2_700_000_000, "2.7 GB"), (34_000_000, "34 MB"), (1000, "1 MB")])
def test_gigabytes(count: int, shown: str) -> None:
    assert gigabytes(count) == shown
