"""The recipe's settings as TRL's: equal where there is an equal, and listed where there is none."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.export.trainers.made import RL, finished, loaded

from solon.config.recipe import Aggregation, Algorithm, Kept, KlControl, LoraSettings, SamplingParams, StopSettings
from solon.errors import RecipeError
from solon.export.trainers.trainer_folder import export_for_trl
from solon.export.trainers.trl import TrlPlan, config_fields, config_yaml, unsupported
from solon.runs import RunDirectory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return finished(tmp_path_factory.mktemp("made") / "made")


def plan_with(**changed: Any) -> TrlPlan:
    return TrlPlan(RL.model_copy(update=changed), seed=3, steps=10)


def fields(**changed: Any) -> dict[str, object]:
    return {each.name: each.value for each in config_fields(plan_with(**changed))}


def missing(**changed: Any) -> dict[str, object]:
    return {each.setting: each.value for each in unsupported(plan_with(**changed))}


def with_drawing(run: RunDirectory, **drawing: float) -> RunDirectory:
    """The same run with other drawing in its recipe."""
    rl = run.recipe.rl.model_copy(update={"sampling": SamplingParams(max_tokens=8, **drawing)})
    return RunDirectory(run.path, run.recipe.model_copy(update={"rl": rl}), run.constitution)


@pytest.mark.parametrize(("limit", "wanted"), [(0.25, [-0.25, 0.25, 0.1]), (None, [-40.0, 40.0, 0.1])])
def test_the_reward_is_clipped_where_the_recipe_does(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float | None, wanted: list[float]
) -> None:
    rl = run.recipe.rl.model_copy(update={"clip_score": limit})
    other = RunDirectory(run.path, run.recipe.model_copy(update={"rl": rl}), run.constitution)
    folder = export_for_trl(other, tmp_path / "out").folder
    reward = loaded(folder)
    assert [reward.clipped(score) for score in (-40.0, 40.0, 0.1)] == wanted
    words = "not clipped" if limit is None else "clipped to ±0.25"
    assert words in (folder / "README.md").read_text()


def test_the_config_file_reads_back_as_the_fields() -> None:
    read = yaml.safe_load(config_yaml(plan_with(learning_rate=1e-6, warmup_steps=3)))
    assert read == fields(learning_rate=1e-6, warmup_steps=3), "YAML takes 1e-06 for a word"


def test_every_field_is_one_of_trls() -> None:
    trl = pytest.importorskip("trl", reason="TRL is not installed")
    assert fields(warmup_steps=1).keys() <= {each.name for each in dataclasses.fields(trl.RLOOConfig)}


def test_rates_rise_over_as_many_steps() -> None:
    # Two minibatches and two passes: four updates a step.
    risen = fields(warmup_steps=3, epochs=2)
    assert risen["lr_scheduler_type"] == "constant_with_warmup" and risen["warmup_steps"] == 12
    assert fields()["lr_scheduler_type"] == "constant" and "warmup_steps" not in fields()


def test_advantages_are_whitened_as_in_the_recipes_algorithm() -> None:
    assert fields(algorithm=Algorithm.RLOO)["normalize_advantages"] is False
    assert fields()["normalize_advantages"] is True


def test_what_has_no_equal_is_named_with_its_value() -> None:
    found = missing(
        gae_lambda_value=1.0, target_kl=0.3, keep=Kept.BEST, held_out_scorer="pm/model", dual_clip=3.0,
        stop=StopSettings(kl=50.0, entropy=None, held_out=None), lora=LoraSettings(rank=4),
        loss_aggregation=Aggregation.REPLIES, kl_control=KlControl.ADAPTIVE, adaptive_kl_target=4.0,
        adaptive_kl_horizon=500,
    )  # fmt: skip
    assert found["rl.target_kl"] == 0.3 and found["rl.stop"] == "kl 50" and found["rl.keep"] == "best"
    assert found["rl.held_out_scorer"] == "pm/model" and found["rl.dual_clip"] == 3.0
    assert found["rl.kl_control"] == "adaptive, target 4 nats per reply, horizon 500"
    assert found["rl.lora"] == "rank 4, alpha 32" and found["rl.loss_aggregation"] == "replies"
    assert "0.95 (1 for its returns)" in str(found["the value function's settings"])
    nothing = {"target_kl": None, "stop": StopSettings(kl=None, entropy=None, held_out=None)}
    assert missing(algorithm=Algorithm.RLOO, gae_lambda_value=0.5, **nothing).keys() == {"rl.loss_aggregation"}
    assert missing(algorithm=Algorithm.DPO)["rl.algorithm"] == "dpo"


def test_the_readme_lists_what_trl_does_not_support(run: RunDirectory, tmp_path: Path) -> None:
    text = (export_for_trl(run, tmp_path / "trl").folder / "README.md").read_text()
    assert "| `rl.algorithm` | ppo | RLOO: TRL has no PPO since 1.13 |" in text
    assert "| `rl.target_kl` | 0.15 |" in text and "\n\n\n" not in text


@pytest.mark.parametrize("drawing", [{"temperature": 0.0}, {"top_p": 0.9}])
def test_replies_that_no_policy_gradient_can_use_are_refused(
    run: RunDirectory, tmp_path: Path, drawing: dict[str, float]
) -> None:
    name = next(iter(drawing))
    with pytest.raises(RecipeError, match=rf"rl\.sampling\.{name}: .* --set rl\.sampling\.{name}=1") as caught:
        export_for_trl(with_drawing(run, **drawing), tmp_path / "out")
    assert "solon run NEW --reuse" in str(caught.value) and not (tmp_path / "out").exists()
