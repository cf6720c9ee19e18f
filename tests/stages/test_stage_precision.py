"""Stages that train in bfloat16 with recomputed activations: what they save, and that they resume to the same bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.stages.test_s04_sl_cai import inputs
from tests.stages.test_s08_rl_cai import SETTINGS, made  # noqa: F401
from tests.training.tiny import same_files, stage_folder

from solon.config.recipe import (
    Activations,
    Algorithm,
    DpoSettings,
    EngineSettings,
    FinetuneSettings,
    LoraSettings,
    NetworkSharing,
    Precision,
    PreferenceSettings,
    TrainingSettings,
)
from solon.runs import Artefact
from solon.stages import s04_sl_cai, s07_preference_model, s08_dpo, s08_rl_cai

TRAINING = TrainingSettings(
    batch_size=8,
    held_out=0.2,
    checkpoint_every=1,
    precision=Precision.BFLOAT16,
    activations=Activations.RECOMPUTED,
)
RL = SETTINGS.model_copy(
    update={"precision": Precision.BFLOAT16, "activations": Activations.RECOMPUTED, "snapshots": 2}
)
LORA = LoraSettings(rank=4)
ADAPTERS = pytest.mark.parametrize("adapter", [None, LORA], ids=["all", "lora"])


class Killed(BaseException):
    """Stands for `kill -9`."""


def training_for(adapter: LoraSettings | None, precision: Precision) -> TrainingSettings:
    return TRAINING.model_copy(update={"lora": adapter, "precision": precision})


def finetuned(
    made: dict[str, Any],
    folder: Path,
    adapter: LoraSettings | None,
    precision: Precision = Precision.BFLOAT16,
    **more: Any,
) -> Artefact:
    given = inputs(Path(tempfile.mkdtemp(dir=folder.parent)), made["tiny"])
    settings = FinetuneSettings(training=training_for(adapter, precision))
    return s04_sl_cai.run(settings, given, stage_folder(folder / "04", **more))


def preferred(
    made: dict[str, Any],
    folder: Path,
    adapter: LoraSettings | None,
    precision: Precision = Precision.BFLOAT16,
    **more: Any,
) -> Artefact:
    given = s07_preference_model.PreferenceInputs(1, made["tiny"], EngineSettings(), made["labels"], None)
    settings = PreferenceSettings(human_helpfulness=None, training=training_for(adapter, precision))
    return s07_preference_model.run(settings, given, stage_folder(folder / "07", **more))


def direct(
    made: dict[str, Any],
    folder: Path,
    adapter: LoraSettings | None,
    precision: Precision = Precision.BFLOAT16,
    **more: Any,
) -> Artefact:
    settings = RL.model_copy(
        update={
            "algorithm": Algorithm.DPO,
            "dpo": DpoSettings(training=training_for(None, precision)),
            "lora": adapter,
        }
    )
    given = s08_dpo.DirectInputs(2, made["tiny"], EngineSettings(), made["labels"])
    return s08_dpo.run(settings, given, stage_folder(folder / "08", **more))


def reinforced(
    made: dict[str, Any],
    folder: Path,
    adapter: LoraSettings | None,
    precision: Precision = Precision.BFLOAT16,
    **more: Any,
) -> Artefact:
    given = s08_rl_cai.ReinforcementInputs(2, made["tiny"], made["pm"].model, EngineSettings(), made["prompts"])
    return s08_rl_cai.run(
        RL.model_copy(update={"lora": adapter, "precision": precision}), given, stage_folder(folder / "08", **more)
    )


@ADAPTERS
@pytest.mark.parametrize("stage", [finetuned, preferred, direct, reinforced])
def test_a_killed_stage_ends_with_the_same_bytes_in_float32(
    made: dict[str, Any],
    tmp_path: Path,
    stage: Any,
    adapter: LoraSettings | None,
) -> None:
    def die(progress: Any) -> None:
        if progress.done == 1 and progress.unit == "steps":
            raise Killed

    whole = stage(made, tmp_path / "whole", adapter)
    with pytest.raises(Killed):
        stage(made, tmp_path / "killed", adapter, report_to=die)
    resumed = stage(made, tmp_path / "killed", adapter)
    assert whole.table().to_pylist() == resumed.table().to_pylist() and same_files(whole.model, resumed.model)
    weights = load_file(whole.model / "model.safetensors")
    assert {each.dtype for each in weights.values()} == {torch.float32}
    for file in (whole.path / "snapshots").glob("*/model.safetensors"):
        assert {each.dtype for each in load_file(file).values()} == {torch.float32}


@ADAPTERS
def test_a_snapshot_of_the_last_step_is_the_model(
    made: dict[str, Any],
    tmp_path: Path,
    adapter: LoraSettings | None,
) -> None:
    done = reinforced(made, tmp_path, adapter)
    last, saved = (
        load_file(folder / "model.safetensors") for folder in (done.path / "snapshots" / "step-00004", done.model)
    )
    assert last.keys() == saved.keys() and all(torch.equal(last[name], saved[name]) for name in saved)


@ADAPTERS
def test_ppo_starts_from_itself(
    made: dict[str, Any],
    tmp_path: Path,
    adapter: LoraSettings | None,
) -> None:
    rows = reinforced(made, tmp_path, adapter).table().to_pylist()
    assert rows[0]["kl"] == rows[1]["kl"] == 0.0 and rows[1]["first_ratio_error"] < 1e-2
    assert rows[-1]["kl_k3"] > 0


def test_networks_on_one_backbone_learn(made: dict[str, Any], tmp_path: Path) -> None:
    sl_cai, scorer = (stage(made, tmp_path, LORA) for stage in (finetuned, preferred))
    given = s08_rl_cai.ReinforcementInputs(
        2, sl_cai.model, scorer.model, EngineSettings(), made["prompts"], backbone=made["tiny"]
    )
    settings = RL.model_copy(update={"networks": NetworkSharing.SHARED, "lora": LORA})
    done = s08_rl_cai.run(settings, given, stage_folder(tmp_path / "08"))
    exact = s08_rl_cai.run(
        settings.model_copy(update={"precision": Precision.FLOAT32}),
        given,
        stage_folder(tmp_path / "exact" / "08"),
    )
    rows = done.table().to_pylist()
    assert rows[0]["kl"] == 0.0 and rows[1]["first_ratio_error"] < 1e-2
    assert rows[0]["score"] == pytest.approx(exact.table().to_pylist()[0]["score"], abs=0.2)
    assert {each.dtype for each in load_file(done.model / "model.safetensors").values()} == {torch.float32}
