"""Stages that go on from an earlier model begin with its weights, and with nothing else of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.row_types import IdRow
from tests.stages.test_s04_sl_cai import SETTINGS as FINETUNE
from tests.stages.test_s04_sl_cai import inputs as finetune_inputs
from tests.stages.test_s07_preference_model import SETTINGS as PREFERENCE
from tests.stages.test_s07_preference_model import labelled
from tests.synthetic import Plan, build
from tests.training.tiny import artefact, save_tiny_model, stage_folder, texts_of

from solon.config.recipe import EngineSettings, LoraSettings, Recipe, ReinforcementSettings
from solon.config.warm_start_settings import EarlierModel, WarmStartSettings
from solon.errors import RunError
from solon.pipeline.session import Session
from solon.rl.rl_models import Folders, load_rl_models
from solon.runs import Artefact, RunDirectory
from solon.runs.progress import Silent
from solon.stages import s04_sl_cai, s07_preference_model
from solon.stages.plan import built_in
from solon.stages.stage import StageDependencies
from solon.stages.warm_start import WarmStart, reads_with, warm_start_of
from solon.training import models
from solon.training.forward import TokenModel

ENGINE = EngineSettings()
ADAPTERS = pytest.mark.parametrize("adapter", [None, LoraSettings(rank=2)], ids=["all weights", "lora"])
IDS_BT = torch.tensor([[5, 6, 7, 8, 9, 10]])
MASK_BT = torch.tensor([[False, True, True, True, True, True]])
STILL = {"learning_rate": 1e-12, "epochs": 0.5}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("warm") / "tiny")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def same(one: Path, other: Path) -> bool:
    before, after = weights(one), weights(other)
    assert before.keys() == after.keys()
    return all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)


@ADAPTERS
def test_finetuning_begins_with_the_earlier_weights(tiny: Path, tmp_path: Path, adapter: LoraSettings | None) -> None:
    given, training = finetune_inputs(tmp_path, tiny), FINETUNE.training
    learning = FINETUNE.model_copy(update={"training": training.model_copy(update={"learning_rate": 1e-2})})
    earlier = s04_sl_cai.run(learning, given, stage_folder(tmp_path / "04")).model
    still = FINETUNE.model_copy(update={"training": training.model_copy(update={**STILL, "lora": adapter})})
    cold = s04_sl_cai.run(still, given, stage_folder(tmp_path / "04-cold")).model
    warm = s04_sl_cai.run(still, replace(given, start=earlier), stage_folder(tmp_path / "04-warm")).model
    assert same(warm, earlier) and not same(cold, earlier)


@ADAPTERS
def test_a_preference_model_goes_on_with_its_head(tiny: Path, tmp_path: Path, adapter: LoraSettings | None) -> None:
    labels = artefact(tmp_path / "06", [labelled(number) for number in range(30)])
    given = s07_preference_model.PreferenceInputs(3, tiny, ENGINE, labels)
    earlier = s07_preference_model.run(PREFERENCE, given, stage_folder(tmp_path / "07")).model
    still = PREFERENCE.model_copy(
        update={"training": PREFERENCE.training.model_copy(update={**STILL, "lora": adapter})}
    )
    cold = s07_preference_model.run(still, given, stage_folder(tmp_path / "07-cold"))
    warm = s07_preference_model.run(still, replace(given, start=earlier), stage_folder(tmp_path / "07-warm"))
    assert same(warm.model, earlier) and not same(cold.model, earlier)
    # The earlier one is as right on held-out pairs as it was, and its template is that of a preference model.
    assert warm.facts["accuracy"] == {"ai": 1.0}
    template = "chat_template.jinja"
    assert (warm.model / template).read_text() == (earlier / template).read_text()


@ADAPTERS
def test_the_reference_stays_sl_cai(tiny: Path, tmp_path: Path, adapter: LoraSettings | None) -> None:
    tokenizer = models.load_tokenizer(tiny)
    start = models.load_causal_lm(tiny, ENGINE)
    with torch.no_grad():
        for parameter in start.parameters():
            parameter.mul_(1.5)
    models.save_model(start, texts_of(tokenizer), tmp_path / "start")
    grown = models.grow_preference_model(tiny, tokenizer, ENGINE, seed=2)
    models.save_model(grown, texts_of(tokenizer), tmp_path / "preference")
    folders = Folders(tiny, tmp_path / "preference", start=tmp_path / "start")
    networks = load_rl_models(ReinforcementSettings(lora=adapter), folders, ENGINE, seed=1).networks
    expected = {name: TokenModel(models.load_causal_lm(folder, ENGINE)) for name, folder in
                (("policy", tmp_path / "start"), ("reference", tiny))}  # fmt: skip
    with torch.no_grad():
        wanted = {name: model.logits(IDS_BT, MASK_BT) for name, model in expected.items()}
        torch.testing.assert_close(networks.policy.logits(IDS_BT, MASK_BT), wanted["policy"])
        with networks.as_reference():
            torch.testing.assert_close(networks.reference.logits(IDS_BT, MASK_BT), wanted["reference"])
    assert not torch.allclose(wanted["policy"], wanted["reference"], atol=1e-3), "or nothing would have been shown"


def test_only_the_named_stages_do_less_and_have_another_key() -> None:
    made = WarmStartSettings(share=0.25, models={"rl-cai": EarlierModel(folder="there", hash="0815")})
    recipe = Recipe(warm_start=made, rl=ReinforcementSettings(steps=10))
    assert warm_start_of(recipe, "sl-cai") is None
    start = warm_start_of(recipe, "rl-cai")
    assert start is not None and start.folder == Path("there")
    assert start.reinforcement(recipe.rl).steps == 2
    assert start.reinforcement(ReinforcementSettings(steps=1)).steps == 1
    assert start.training(recipe.finetune.training).epochs == pytest.approx(0.25 * recipe.finetune.training.epochs)
    reads = StageDependencies({"pretrained": Path("base")}, {"part": "run"})
    assert reads_with(None, reads) is reads
    assert reads_with(start, reads).paths == reads.paths
    assert reads_with(start, reads).more == {"part": "run", "warm_start": {"hash": "0815", "share": 0.25}}


def trained(folder: Path, text: str) -> Artefact:
    """A stage that made a model, in the place of an earlier one."""
    shutil.rmtree(folder, ignore_errors=True)
    out = stage_folder(folder)
    (out.path / "model").mkdir()
    (out.path / "model" / "weights").write_text(text)
    return out.publish([IdRow("a")], IdRow, files=["model"])


def test_a_model_that_was_trained_anew_is_not_what_training_goes_on_from(tmp_path: Path) -> None:
    earlier = trained(tmp_path / "08-rl-cai", "one")
    start = WarmStart(earlier.path / "model", earlier.hash, 0.5)
    assert start.model() == earlier.path / "model"
    trained(tmp_path / "08-rl-cai", "two")
    with pytest.raises(RunError, match=rf"08-rl-cai: the earlier model is another now: .*{earlier.hash[:8]}"):
        start.model()


def test_a_model_with_other_weights_than_were_published_is_refused(tmp_path: Path) -> None:
    earlier = trained(tmp_path / "08-rl-cai", "one")
    start = WarmStart(earlier.path / "model", earlier.hash, 0.5)
    (earlier.path / "model" / "weights").write_text("two")
    with pytest.raises(RunError, match="weights: the file has changed"):
        start.model()
    (earlier.path / "manifest.json").unlink()
    with pytest.raises(RunError, match="not that of a finished stage"):
        start.model()


@pytest.mark.parametrize("name", ["sl-cai", "preference-model", "rl-cai"])
def test_each_stage_refuses_another_model_before_it_trains(name: str, tmp_path: Path) -> None:
    stage = built_in(name)
    earlier = trained(tmp_path / stage.name, "one")
    made = WarmStartSettings(models={stage.name: EarlierModel(folder=str(earlier.path / "model"), hash="another")})
    built = build(tmp_path / "run", Plan(red=2, held_out=2))
    recipe = built.recipe.model_copy(update={"warm_start": made})
    work = Session(RunDirectory(built.path, recipe, built.constitution), Silent())
    with pytest.raises(RunError, match="the earlier model is another now"):
        stage.run(work, stage_folder(tmp_path / "out"))
