"""A model that accelerate places answers as it does without: the setting changes where layers lie, and no row."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import cpu_offload
from tests.engines.tiny import byte_tokenizer, model_of, questions

from solon.config.loading import load_recipe
from solon.config.recipe import DeviceMap, EngineSettings, SamplingParams
from solon.engines.local.engine import LocalEngine
from solon.engines.rounding import keyed
from solon.errors import RecipeError
from solon.model_folders.load import ModelHead, load_model
from solon.pipeline.preflight import refuse_contradictions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    model_of("llama").save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("placed", list(DeviceMap))
def test_texts_and_choices_are_those_of_one_device(folder: Path, placed: DeviceMap) -> None:
    plain = LocalEngine.load(folder, EngineSettings())
    spread = LocalEngine.load(folder, EngineSettings(device_map=placed))
    asked, sampling = questions(5), SamplingParams(max_tokens=8)
    answers = [each.generate(asked, range(5), sampling) for each in (plain, spread)]
    assert [each.token_ids for each in answers[0]] == [each.token_ids for each in answers[1]]
    assert plain.choose(asked, (" yes", " no")) == spread.choose(asked, (" yes", " no"))


def test_a_model_whose_weights_accelerate_moves_in_and_out_answers_alike() -> None:
    plain = LocalEngine(model_of("llama"), byte_tokenizer(), EngineSettings())
    moved = LocalEngine(cpu_offload(model_of("llama"), torch.device("cpu")), byte_tokenizer(), EngineSettings())
    assert all(weight.is_meta for weight in moved.model.parameters())
    asked, sampling = questions(5), SamplingParams(max_tokens=8)
    answers = [each.generate(asked, range(5), sampling) for each in (plain, moved)]
    assert [each.token_ids for each in answers[0]] == [each.token_ids for each in answers[1]]
    assert plain.choose(asked, (" yes", " no")) == moved.choose(asked, (" yes", " no"))


def test_it_is_no_part_of_a_key() -> None:
    assert keyed(EngineSettings(device_map=DeviceMap.AUTO)) == keyed(EngineSettings())


def test_models_that_are_trained_are_not_spread(folder: Path) -> None:
    model = load_model(ModelHead.LANGUAGE_MODEL, folder, dtype="auto")
    assert not hasattr(model, "hf_device_map")


def test_several_processes_that_train_refuse_it(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("testbed", settings=["engine.device_map=auto"])
    refuse_contradictions(recipe)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(
        RecipeError, match=r"^engine\.device_map: .*asked and not trained.*engine\.device_map=null; FSDP"
    ):
        refuse_contradictions(recipe)
