"""The memory that a run needs at least, by hand, and what is said where there is less."""

import pytest

from solon.config.loading import load_recipe
from solon.config.recipe import Recipe
from solon.errors import RecipeError
from solon.model_folders.system_memory import SystemMemory
from solon.pipeline.memory_needs import (
    ASKING,
    FINETUNING,
    PREFERENCES,
    REINFORCEMENT,
    Parameters,
    gigabytes,
    needs,
    refuse_too_large,
)

SEVEN = Parameters(asked=28, pretrained=7, preference=7, policy=7)


def of(*settings: str) -> Recipe:
    return load_recipe("testbed", (), settings)


def test_in_full_weight_gradient_and_two_moments_are_counted() -> None:
    found = needs(of(), SEVEN)
    assert (found[ASKING], found[FINETUNING], found[PREFERENCES]) == (28, 112, 112)
    # Policy and value function learn, reference and preference model are read.
    assert found[REINFORCEMENT] == 112 + 28 + 112 + 28


def test_adapters_leave_the_weights_alone() -> None:
    lora = [f"{part}.lora.rank=8" for part in ("finetune.training", "preference.training", "rl")]
    found = needs(of(*lora), SEVEN)
    assert (found[FINETUNING], found[PREFERENCES], found[REINFORCEMENT]) == (28, 28, 28 + 28 + 28)
    assert needs(of(*lora, "rl.networks=shared"), SEVEN)[REINFORCEMENT] == 28
    assert needs(of(*lora, "rl.algorithm=dpo"), SEVEN)[REINFORCEMENT] == 28
    assert needs(of(*lora, "rl.algorithm=rloo", "rl.samples_per_prompt=2"), SEVEN)[REINFORCEMENT] == 28 + 28


def test_scorers_count() -> None:
    brought = Parameters(asked=28, pretrained=7, preference=7, policy=7, scorers=5)
    assert needs(of(), brought)[REINFORCEMENT] == 280 + 20
    assert needs(of("rl.held_out_share=0.5"), SEVEN)[REINFORCEMENT] == 280 + 28


def test_what_cannot_fit_is_refused_and_what_is_tight_is_said() -> None:
    needed = {ASKING: 2 * 10**9, REINFORCEMENT: 30 * 10**9}
    assert refuse_too_large(needed, SystemMemory(total=64 * 10**9, free=40 * 10**9)) is None
    assert refuse_too_large(needed, None) is None
    told = refuse_too_large(needed, SystemMemory(total=64 * 10**9, free=8 * 10**9))
    assert told == (
        "Reinforcement learning needs 30.0 GB of memory at least, and only 8.0 GB are free now; close other programs"
    )
    with pytest.raises(RecipeError) as refused:
        refuse_too_large(needed, SystemMemory(total=16 * 10**9, free=8 * 10**9))
    line = str(refused.value)
    assert line.startswith("memory: reinforcement learning needs 30.0 GB of memory at least, and this machine has 16.0")
    assert "--set rl.networks=shared" in line


@pytest.mark.parametrize(("count", "shown"), [(2_700_000_000, "2.7 GB"), (34_000_000, "34 MB"), (1000, "1 MB")])
def test_gigabytes(count: int, shown: str) -> None:
    assert gigabytes(count) == shown
