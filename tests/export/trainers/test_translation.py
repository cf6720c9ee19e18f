"""The recipe's settings in a trainer's words: translated where there is an equal, and told where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.export.trainers.made import RL, finished, loaded

from solon.config.recipe import Aggregation, Algorithm, Kept, KlControl, LoraSettings, SamplingParams, StopSettings
from solon.errors import RecipeError
from solon.export.trainers.trainer_folder import TRAINERS, export_handoff
from solon.export.trainers.trainer_plan import Plan, Setting, left_by_all, step_shape
from solon.runs import RunDirectory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return finished(tmp_path_factory.mktemp("handoff") / "made")


def plan_with(name: str, **changed: Any) -> Plan:
    rl = RL.model_copy(update=changed)
    shape = step_shape(rl, TRAINERS[name].least_samples)
    return Plan(rl, 3, 10, shape, longest_prompt=40, window=128, shared_tokens=True)


def told(name: str, **changed: Any) -> dict[str, Setting]:
    return {each.key: each for each in TRAINERS[name].settings(plan_with(name, **changed))}


def left(name: str, **changed: Any) -> dict[str, object]:
    plan = plan_with(name, **changed)
    return {each.key: each.value for each in (*left_by_all(plan), *TRAINERS[name].left(plan))}


def with_drawing(run: RunDirectory, **drawing: float) -> RunDirectory:
    """The same run with other drawing in its recipe."""
    rl = run.recipe.rl.model_copy(update={"sampling": SamplingParams(max_tokens=8, **drawing)})
    return RunDirectory(run.path, run.recipe.model_copy(update={"rl": rl}), run.constitution)


@pytest.mark.parametrize(("limit", "wanted"), [(2.5, (-2.5, 2.5)), (None, (-1e6, 1e6))])
def test_openrlhf_clips_where_the_recipe_does(limit: float | None, wanted: tuple[float, float]) -> None:
    assert told("openrlhf", clip_score=limit)["reward.clip_range"].value == wanted


@pytest.mark.parametrize(("limit", "wanted"), [(0.25, [-0.25, 0.25, 0.1]), (None, [-40.0, 40.0, 0.1])])
def test_the_reward_is_clipped_where_the_recipe_does(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float | None, wanted: list[float]
) -> None:
    rl = run.recipe.rl.model_copy(update={"clip_score": limit})
    other = RunDirectory(run.path, run.recipe.model_copy(update={"rl": rl}), run.constitution)
    folder = export_handoff(other, TRAINERS["trl"], tmp_path / "out").folder
    reward = loaded(folder)
    assert [reward.clipped(score) for score in (-40.0, 40.0, 0.1)] == wanted
    words = "not clipped" if limit is None else "clipped to ±0.25"
    assert words in (folder / "README.md").read_text()


def test_an_adaptive_coefficient_is_told_to_verl_per_token_and_missing_elsewhere() -> None:
    adaptive = {"kl_control": KlControl.ADAPTIVE, "adaptive_kl_target": 4.0, "adaptive_kl_horizon": 500}
    verl = told("verl", **adaptive)
    assert verl["algorithm.kl_ctrl.type"].value == "adaptive" and verl["algorithm.kl_ctrl.horizon"].value == 500
    assert verl["algorithm.kl_ctrl.target_kl"].value == 4.0 / RL.sampling.max_tokens
    assert "rl.kl_control" not in left("verl", **adaptive)
    for name in ("openrlhf", "trl"):
        assert left(name, **adaptive)["rl.kl_control"] == "adaptive, target 4 nats per reply, horizon 500"
        assert "rl.kl_control" not in left(name)
    assert told("verl")["algorithm.kl_ctrl.type"].value == "fixed"


def test_dual_clip_and_aggregation() -> None:
    changed = {"dual_clip": 3.0, "aggregation": Aggregation.REPLIES}
    assert told("openrlhf", **changed)["actor.dual_clip"].value == 3.0
    assert told("openrlhf", **changed)["actor.loss_agg_mode"].value == "seq-mean-token-mean"
    assert "actor.dual_clip" not in told("openrlhf")
    verl = told("verl", **changed)
    assert verl["actor_rollout_ref.actor.clip_ratio_c"].value == 3.0
    assert verl["actor_rollout_ref.actor.loss_agg_mode"].value == "seq-mean-token-mean"
    assert verl["critic.loss_agg_mode"].value == "token-mean", "a value function is averaged over tokens all the same"
    assert told("verl")["actor_rollout_ref.actor.clip_ratio_c"].value == 1e6, "verl's own default is to clip twice"
    assert told("verl")["actor_rollout_ref.actor.loss_agg_mode"].value == "token-mean"
    assert left("trl", **changed)["rl.dual_clip"] == 3.0 and left("trl", **changed)["rl.loss_aggregation"] == "replies"


def test_rates_rise_over_as_many_steps() -> None:
    # Two minibatches and two passes: four updates a step.
    changed = {"warmup": 3, "epochs": 2}
    openrlhf = told("openrlhf", **changed)
    for role in ("actor", "critic"):
        assert openrlhf[f"{role}.lr_scheduler"].value == "constant_with_warmup"
        assert openrlhf[f"{role}.lr_warmup_ratio"].value == 0.3, "of ten steps"
    verl = told("verl", **changed)
    assert verl["critic.optim.lr_warmup_steps"].value == 3, "verl moves its rates once a step"
    trl = told("trl", **changed)
    assert trl["lr_scheduler_type"].value == "constant_with_warmup" and trl["warmup_steps"].value == 12
    assert told("openrlhf")["actor.lr_scheduler"].value == told("trl")["lr_scheduler_type"].value == "constant"
    assert "warmup_steps" not in told("trl")


def test_rloo_is_rloo_everywhere_and_has_no_value_function() -> None:
    changed = {"algorithm": Algorithm.RLOO, "samples_per_prompt": 4, "trace_value": 0.5}
    openrlhf, verl, trl = (told(name, **changed) for name in ("openrlhf", "verl", "trl"))
    assert openrlhf["algo.advantage.estimator"].value == verl["algorithm.adv_estimator"].value == "rloo"
    assert not [key for key in (*openrlhf, *verl) if "critic" in key]
    assert trl["normalize_advantages"].value is False and told("trl")["normalize_advantages"].value is True
    for name in TRAINERS:
        assert not {"rl.algorithm", "rl.gae_lambda_value"} & left(name, **changed).keys()
    assert step_shape(RL.model_copy(update={"algorithm": Algorithm.RLOO}), 1).samples == 2


def test_what_has_no_equal_is_named_with_its_value() -> None:
    changed = {
        "trace_value": 1.0, "target_kl": 0.3, "keep": Kept.BEST, "held_out_scorer": "pm/model",
        "stop": StopSettings(kl=50.0, entropy=None, held_out=None), "lora": LoraSettings(rank=4),
    }  # fmt: skip
    for name in TRAINERS:
        found = left(name, **changed)
        assert found["rl.target_kl"] == 0.3 and found["rl.stop"] == "kl 50" and found["rl.keep"] == "best"
        assert found["rl.held_out_scorer"] == "pm/model"
    assert left("openrlhf", **changed)["rl.gae_lambda_value"] == left("verl", **changed)["rl.gae_lambda_value"] == 1.0
    assert "0.95 (1 for its returns)" in str(left("trl", **changed)["the value function's settings"])
    assert left("trl", **changed)["rl.lora"] == "rank 4, alpha 32"
    nothing = {"target_kl": None, "stop": StopSettings(kl=None, entropy=None, held_out=None)}
    assert left("openrlhf", **nothing) == left("verl", **nothing) == {}
    assert left("verl", algorithm=Algorithm.DPO)["rl.algorithm"] == "dpo"


def test_the_readme_tells_what_was_not_carried_over(run: RunDirectory, tmp_path: Path) -> None:
    text = (export_handoff(run, TRAINERS["trl"], tmp_path / "trl").folder / "README.md").read_text()
    assert "## Not carried over" in text and "| `rl.algorithm` | ppo | RLOO: TRL has no PPO since 1.13 |" in text
    assert "| `rl.target_kl` | 0.15 |" in text and "\n\n\n" not in text
    rloo = run.recipe.rl.model_copy(update={"algorithm": Algorithm.RLOO, "samples_per_prompt": 2})
    other = RunDirectory(run.path, run.recipe.model_copy(update={"rl": rloo}), run.constitution)
    for name in ("openrlhf", "verl"):
        folder = export_handoff(other, TRAINERS[name], tmp_path / name).folder
        assert (folder / "README.md").read_text().startswith("# RLOO with")
        assert "# RLOO with" in (folder / "launch.sh").read_text()


@pytest.mark.parametrize("drawing", [{"temperature": 0.0}, {"top_p": 0.9}])
def test_replies_that_no_policy_gradient_can_use_are_refused(
    run: RunDirectory, tmp_path: Path, drawing: dict[str, float]
) -> None:
    name = next(iter(drawing))
    with pytest.raises(RecipeError, match=rf"rl\.sampling\.{name}: .* --set rl\.sampling\.{name}=1") as caught:
        export_handoff(with_drawing(run, **drawing), TRAINERS["verl"], tmp_path / "out")
    assert "solon run NEW --reuse" in str(caught.value) and not (tmp_path / "out").exists()
