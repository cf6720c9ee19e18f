"""RL-CAI on a tiny model with the local engine at work."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tests.training.tiny import artefact, asked, row_id, said, same_files, save_tiny_model, stage_folder, texts_of
from transformers import AutoModelForCausalLM

from solon.config.recipe import (
    Algorithm,
    EngineSettings,
    Kept,
    LoraSettings,
    NetworkSharing,
    PreferenceSettings,
    Recipe,
    ReinforcementSettings,
    SamplingParams,
    StopSettings,
    TrainingSettings,
    ValueFunction,
)
from solon.conversation import Conversation
from solon.errors import ModelError, RecipeError, StageError
from solon.reporting.sentences import reinforcement_sentences
from solon.rl.policy_sampler import PolicySampler
from solon.rl.rl_models import refuse_unshareable
from solon.rl.setting_checks import refuse_unusable
from solon.runs import Artefact
from solon.stages import s07_preference_model, s08_rl_cai
from solon.training import models

SETTINGS = ReinforcementSettings(
    steps=4,
    prompts_per_step=6,
    value_warmup_steps=1,
    checkpoint_every=2,
    sampling=SamplingParams(max_tokens=8),
    red_team_share=0.5,
)


class Killed(BaseException):
    """Stands for `kill -9`."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A policy, a preference model and prompts."""
    folder = tmp_path_factory.mktemp("reinforcement")
    tiny = save_tiny_model(folder / "tiny")
    rows = [
        {"row_id": row_id(f"q{n}"), "prompt": asked(f"How do I bake {n} ?"), "chosen": said("yes good"),
         "rejected": said("no bad"), "p_chosen": 0.9, "outcome": "ok"}
        for n in range(16)
    ]  # fmt: skip
    labels = artefact(folder / "06", rows)
    given = s07_preference_model.PreferenceInputs(1, tiny, EngineSettings(), labels, None)
    preferences = s07_preference_model.run(
        PreferenceSettings(human_helpfulness=None, training=TrainingSettings(batch_size=8, held_out=0.2)),
        given,
        stage_folder(folder / "07"),
    )
    prompts = [
        {"row_id": row_id(f"{kind} {n}"), "kind": kind, "prompt": asked(f"{kind} {n} ?"), "outcome": "ok"}
        for kind in ("red_team", "helpful", "held_out_harmful") for n in range(5)
    ]  # fmt: skip
    return {"tiny": tiny, "pm": preferences, "prompts": artefact(folder / "01", prompts), "labels": labels}


def run(
    made: dict[str, Any],
    folder: Path,
    settings: ReinforcementSettings = SETTINGS,
    held_out: Path | None = None,
    **more: Any,
) -> Artefact:
    given = s08_rl_cai.ReinforcementInputs(
        2, made["tiny"], made["pm"].model, EngineSettings(), made["prompts"], held_out
    )
    return s08_rl_cai.run(settings, given, stage_folder(folder, **more))


@pytest.mark.parametrize("adapter", [None, LoraSettings(rank=4)])
def test_a_run_tells_every_step_and_leaves_a_model(made: dict[str, Any], tmp_path: Path, adapter: object) -> None:
    done = run(made, tmp_path / "08", SETTINGS.model_copy(update={"lora": adapter}))
    rows = done.table().to_pylist()
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-4) and rows[0]["policy_updates"] == 0
    assert rows[1]["first_ratio_error"] < 1e-5 and rows[1]["policy_updates"] == 8
    assert rows[-1]["kl_k3"] > 0
    assert all(row["replies"] == 6 and 0 < row["length"] <= 8 for row in rows)
    assert all(row["score_red_team"] is not None and row["score_helpful"] is not None for row in rows)
    assert done.facts["prompts"] == {"red_team": 5, "helpful": 5}
    assert set(done.facts["seconds"]) == {"sample", "score", "measure", "update", "save"}
    assert done.facts["centre"] == pytest.approx(made["pm"].facts["centre"])
    AutoModelForCausalLM.from_pretrained(done.model)


@pytest.mark.parametrize("adapter", [None, LoraSettings(rank=4)])
@pytest.mark.parametrize("minibatches", [1, 4])
def test_a_value_head_learns_with_the_policy_and_is_not_published(
    made: dict[str, Any], tmp_path: Path, adapter: object, minibatches: int
) -> None:
    settings = SETTINGS.model_copy(
        update={
            "value_function": ValueFunction.POLICY_BACKBONE,
            "lora": adapter,
            "minibatches": minibatches,
            "snapshots": 2,
            "checkpoint_every": 1,
        }
    )

    def die(progress: Any) -> None:
        if progress.done == 2:
            raise Killed

    done = run(made, tmp_path / "whole", settings)
    rows = done.table().to_pylist()
    assert [row["policy_updates"] for row in rows] == [0, *[2 * minibatches] * 3]
    assert rows[1]["first_ratio_error"] < 1e-5 and rows[-1]["kl_k3"] > 0
    assert all(row["value_loss"] > 0 and row["value_gradient_norm"] > 0 for row in rows)
    assert rows[0]["explained_variance"] == pytest.approx(0, abs=1e-6) != rows[-1]["explained_variance"]
    names = set(load_file(made["tiny"] / "model.safetensors"))
    for folder in (done.model, *(done.path / "snapshots").iterdir()):
        assert set(load_file(folder / "model.safetensors")) == names
        AutoModelForCausalLM.from_pretrained(folder)
    with pytest.raises(Killed):
        run(made, tmp_path / "killed", settings, report_to=die)
    resumed = run(made, tmp_path / "killed", settings)
    assert done.hash == resumed.hash and same_files(done.model, resumed.model)


def test_a_killed_stage_ends_with_the_same_bytes(made: dict[str, Any], tmp_path: Path) -> None:
    def killing(at: int) -> Any:
        def die(progress: Any) -> None:
            if progress.done == at:
                raise Killed

        return die

    whole = run(made, tmp_path / "whole")
    for at in (1, 3):
        with pytest.raises(Killed):
            run(made, tmp_path / "killed", report_to=killing(at))
    resumed = run(made, tmp_path / "killed")
    assert whole.table().to_pylist() == resumed.table().to_pylist() and whole.hash == resumed.hash
    assert same_files(whole.model, resumed.model)


@pytest.mark.parametrize("drawing", [SamplingParams(temperature=0), SamplingParams(top_p=0.9)])
def test_sampling_that_ppo_cannot_use_is_refused(made: dict[str, Any], tmp_path: Path, drawing: SamplingParams) -> None:
    with pytest.raises(RecipeError, match=r"rl\.sampling\."):
        run(made, tmp_path / "08", SETTINGS.model_copy(update={"sampling": drawing}))


def test_prompts_without_room_for_a_reply_are_refused(made: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(StageError, match="leaves 200 tokens free"):
        run(made, tmp_path / "08", SETTINGS.model_copy(update={"sampling": SamplingParams(max_tokens=200)}))


def test_a_policy_at_another_temperature_is_still_itself(made: dict[str, Any], tmp_path: Path) -> None:
    drawing = SamplingParams(max_tokens=8, temperature=0.7)
    done = run(made, tmp_path / "08", SETTINGS.model_copy(update={"sampling": drawing, "steps": 2}))
    assert done.table().to_pylist()[1]["first_ratio_error"] < 1e-5
    assert done.table().to_pylist()[0]["kl"] == pytest.approx(0.0, abs=1e-4)


def test_another_scorer_stands_in_for_the_preference_model(made: dict[str, Any], tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"steps": 2})
    inputs = s08_rl_cai.ReinforcementInputs(
        2, made["tiny"], made["pm"].model, EngineSettings(), made["prompts"], scorer=made["pm"].model
    )
    own = run(made, tmp_path / "own", settings)
    same = s08_rl_cai.run(settings, inputs, stage_folder(tmp_path / "folder"))
    for one, other in zip(own.table().to_pylist(), same.table().to_pylist(), strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
    asked_of: list[Conversation] = []

    def constant(conversations: Sequence[Conversation]) -> list[float]:
        asked_of.extend(conversations)
        return [0.25] * len(conversations)

    paid = s08_rl_cai.run(settings, replace(inputs, scorer=constant), stage_folder(tmp_path / "function"))
    assert [row["score"] for row in paid.table().to_pylist()] == pytest.approx([0.25, 0.25], abs=1e-6)
    assert len(asked_of) == sum(row["replies"] for row in paid.table().to_pylist())


@pytest.mark.parametrize("name", ["scorer", "held_out_scorer"])
def test_a_scorer_that_is_not_there_is_refused_before_anything_is_spent(name: str) -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        refuse_unusable(SETTINGS.model_copy(update={name: "nowhere/pm"}))
    with pytest.raises(RecipeError, match="is not a valid address"):
        refuse_unusable(SETTINGS.model_copy(update={"scorer": "http://"}))
    with pytest.raises(ModelError, match="this is an address"):
        refuse_unusable(SETTINGS.model_copy(update={"held_out_scorer": "http://127.0.0.1:9"}))


def test_rloo_learns_without_a_value_function(made: dict[str, Any], tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"algorithm": Algorithm.RLOO, "samples_per_prompt": 2, "steps": 2})
    done = run(made, tmp_path / "08", settings)
    rows = done.table().to_pylist()
    assert [row["policy_updates"] for row in rows] == [8, 8] and rows[0]["replies"] == 12
    assert all(row["value_loss"] is None and row["explained_variance"] is None for row in rows)
    assert done.facts["algorithm"] == "rloo" and done.facts["stopped_because"] is None
    AutoModelForCausalLM.from_pretrained(done.model)


def test_rloo_with_one_reply_to_a_prompt_is_refused(made: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"rl\.samples_per_prompt is 1.*--set rl\.samples_per_prompt=2"):
        run(made, tmp_path / "08", SETTINGS.model_copy(update={"algorithm": Algorithm.RLOO}))


def test_metrics_and_samples_stand_beside_the_table(made: dict[str, Any], tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"samples_every": 3, "samples": 4})
    done = run(made, tmp_path / "08", settings)
    lines = [json.loads(line) for line in (done.path / "metrics.jsonl").read_text().splitlines()]
    rows = done.table().to_pylist()
    assert [{name: line.get(name) for name in row} for line, row in zip(lines, rows, strict=True)] == rows
    samples = [json.loads(line) for line in (done.path / "samples.jsonl").read_text().splitlines()]
    assert [sample["step"] for sample in samples] == [1] * 4 + [3] * 4 + [4] * 4
    assert {sample["kind"] for sample in samples[:4]} == {"red_team", "helpful"}
    assert all(sample["prompt"][-1]["role"] == "user" and sample["held_out_score"] is None for sample in samples)
    assert {"metrics.jsonl", "samples.jsonl"} <= set(done.manifest.files)


def test_a_held_out_scorer_reads_the_same_replies(made: dict[str, Any], tmp_path: Path) -> None:
    done = run(made, tmp_path / "08", SETTINGS.model_copy(update={"steps": 2}), held_out=made["pm"].model)
    for row in done.table().to_pylist():
        assert row["held_out_score"] == pytest.approx(row["score"], abs=1e-5), "here it is the same model"


def test_a_run_that_a_rule_ends_is_published_with_the_reason(made: dict[str, Any], tmp_path: Path) -> None:
    stop = StopSettings(kl=None, entropy=None, opening=0.01, patience=2)
    done = run(made, tmp_path / "08", SETTINGS.model_copy(update={"stop": stop}))
    assert len(done.table().to_pylist()) == done.facts["steps"] == 2 and done.facts["steps_asked"] == 4
    assert "rl.stop.opening" in done.facts["stopped_because"]
    (line,) = s08_rl_cai.Reinforcement("rl-cai").summary(done.facts)
    assert line.startswith("stopped after step 2 of 4: more than 1.0 % of the replies opened")
    distance = f"{done.table().to_pylist()[-1]['kl']:.1f} nats per reply from SL-CAI (rl.keep=last)"
    assert distance in line and line.endswith("solon run NEW --reuse RUN --set rl.keep=best")
    assert any(done.facts["warning"] in sentence for sentence in reinforcement_sentences(done.facts))
    AutoModelForCausalLM.from_pretrained(done.model)
    best = run(made, tmp_path / "best", SETTINGS.model_copy(update={"stop": stop, "keep": Kept.BEST}))
    assert best.facts["stopped_because"] and "warning" not in best.facts


def test_a_prompt_that_a_step_draws_twice_gets_other_replies(made: dict[str, Any], tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(
        update={"prompts_per_step": 40, "samples_per_prompt": 2, "steps": 1, "samples": 80, "algorithm": Algorithm.RLOO}
    )
    done = run(made, tmp_path / "08", settings)
    lines = [json.loads(line) for line in (done.path / "samples.jsonl").read_text().splitlines()]
    by_prompt = Counter(line["row_id"] for line in lines)
    assert len(by_prompt) == 10 and min(by_prompt.values()) >= 6, "five prompts of each kind, drawn four times"
    texts = {(line["row_id"], line["reply"]) for line in lines}
    assert len(texts) > 70, "a few short ones may come twice by chance, and each came four times from one seed"


def test_an_empty_reply_reaches_no_scorer(
    made: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = PolicySampler._completions

    def some_end_at_once(self: Any, step: int, drawn: Any) -> Any:
        return [
            ([int(end)], "", True) if number % 3 == 0 else each
            for number, each in enumerate(written(self, step, drawn))
        ]

    end = models.load_tokenizer(made["tiny"]).eos_token_id
    monkeypatch.setattr(PolicySampler, "_completions", some_end_at_once)
    asked_of: list[Conversation] = []

    def constant(conversations: Sequence[Conversation]) -> list[float]:
        asked_of.extend(conversations)
        return [0.25] * len(conversations)

    inputs = s08_rl_cai.ReinforcementInputs(
        2, made["tiny"], made["pm"].model, EngineSettings(), made["prompts"], scorer=constant
    )
    done = s08_rl_cai.run(SETTINGS, inputs, stage_folder(tmp_path / "08"))
    assert len(asked_of) == sum(row["replies"] for row in done.table().to_pylist()) <= 4 * 4
    assert all(each.turns[-1].content.strip() for each in asked_of)
    assert all(row["empty"] == pytest.approx(1 - row["replies"] / 6) for row in done.table().to_pylist())
    assert done.facts["empty"] == done.table().to_pylist()[-1]["empty"] >= 1 / 3
    assert any(line.startswith("silence: ") for line in s08_rl_cai.Reinforcement("rl-cai").summary(done.facts))


@pytest.mark.parametrize("adapter", [None, LoraSettings(rank=4)])
def test_snapshots_are_kept_on_the_way_and_survive_a_kill(
    made: dict[str, Any], tmp_path: Path, adapter: LoraSettings | None
) -> None:
    settings = SETTINGS.model_copy(update={"snapshots": 3, "lora": adapter})

    def die(progress: Any) -> None:
        if progress.done == 3:  # the snapshot of step 3 is there, the newest checkpoint is that of step 2
            raise Killed

    whole = run(made, tmp_path / "whole", settings)
    with pytest.raises(Killed):
        run(made, tmp_path / "killed", settings, report_to=die)
    resumed = run(made, tmp_path / "killed", settings)
    assert whole.hash == resumed.hash
    assert whole.facts["snapshots"] == [3, 4], "every third step, and the last"
    assert same_files(whole.path / "snapshots" / "step-00004", whole.model)
    third = AutoModelForCausalLM.from_pretrained(whole.path / "snapshots" / "step-00003")
    assert any(
        not one.equal(other)
        for one, other in zip(
            third.parameters(), AutoModelForCausalLM.from_pretrained(whole.model).parameters(), strict=True
        )
    )
    without = run(made, tmp_path / "without", settings.model_copy(update={"snapshots": None}))
    assert same_files(without.model, whole.model), "keeping them changes nothing"
    assert "snapshots" not in without.facts and not (without.path / "snapshots").exists()
    assert any("2 snapshots" in line for line in s08_rl_cai.Reinforcement("rl-cai").summary(whole.facts))


@pytest.fixture(scope="module")
def adapted(made: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """SL-CAI and a preference model that are adapters of one model."""
    folder = tmp_path_factory.mktemp("adapted")
    tokenizer = models.load_tokenizer(made["tiny"])
    policy = models.with_adapter(models.load_causal_lm(made["tiny"], EngineSettings()), LoraSettings(rank=4), 1)
    models.save_model(policy, texts_of(tokenizer), folder / "sl-cai")
    given = s07_preference_model.PreferenceInputs(1, made["tiny"], EngineSettings(), made["labels"], None)
    training = TrainingSettings(batch_size=8, held_out=0.2, lora=LoraSettings(rank=4))
    settings = PreferenceSettings(human_helpfulness=None, training=training)
    preferences = s07_preference_model.run(settings, given, stage_folder(folder / "07"))
    return {**made, "sl_cai": folder / "sl-cai", "pm": preferences}


@pytest.mark.parametrize(
    ("algorithm", "samples", "value_function"),
    [
        (Algorithm.PPO, 1, ValueFunction.SEPARATE),
        (Algorithm.PPO, 1, ValueFunction.POLICY_BACKBONE),
        (Algorithm.RLOO, 2, ValueFunction.SEPARATE),
    ],
)
def test_a_shared_backbone_learns_and_resumes_to_the_same_bytes(
    adapted: dict[str, Any], tmp_path: Path, algorithm: Algorithm, samples: int, value_function: ValueFunction
) -> None:
    settings = SETTINGS.model_copy(
        update={
            "networks": NetworkSharing.SHARED,
            "value_function": value_function,
            "algorithm": algorithm,
            "samples_per_prompt": samples,
            "checkpoint_every": 1,
        }
    )
    given = s08_rl_cai.ReinforcementInputs(
        2, adapted["sl_cai"], adapted["pm"].model, EngineSettings(), adapted["prompts"], backbone=adapted["tiny"]
    )

    def die(progress: Any) -> None:
        if progress.done == 2:
            raise Killed

    whole = s08_rl_cai.run(settings, given, stage_folder(tmp_path / "whole"))
    with pytest.raises(Killed):
        s08_rl_cai.run(settings, given, stage_folder(tmp_path / "killed", report_to=die))
    resumed = s08_rl_cai.run(settings, given, stage_folder(tmp_path / "killed"))
    assert whole.hash == resumed.hash and same_files(whole.model, resumed.model)
    rows = whole.table().to_pylist()
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-4), "the reference is the policy's start"
    assert rows[-1]["kl_k3"] > 0 and rows[-1]["policy_updates"] == 8
    assert whole.facts["centre"] == pytest.approx(adapted["pm"].facts["centre"])
    AutoModelForCausalLM.from_pretrained(whole.model)


def test_a_backbone_that_would_not_be_shared_is_refused() -> None:
    lora = {"training": {"lora": {"rank": 4}}}
    recipe = {"rl": {"networks": "shared"}, "finetune": lora, "preference": lora}
    refuse_unshareable(Recipe.model_validate(recipe))
    for changed, said_of in (
        ({"finetune": {}}, "finetune.training without an adapter changes it"),
        ({"preference": {}}, "preference.training without an adapter changes it"),
        ({"models": {"preference": "testbed:assistant"}}, "share no backbone"),
    ):
        with pytest.raises(RecipeError, match=said_of):
            refuse_unshareable(Recipe.model_validate({**recipe, **changed}))
