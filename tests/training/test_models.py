"""Models on disk: what is refused, what is chosen for them, and what others read."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from solon.config.recipe import EngineSettings, LoraSettings, Matmul
from solon.errors import ModelError
from solon.training import models
from tests.training.tiny import save_tiny_model, texts_of

SETTINGS = EngineSettings()
IDS = torch.tensor([[5, 6, 7, 8, 9, 0]])


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def test_half_precision_files_are_loaded_as_float32(tiny: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(tiny).half().save_pretrained(tmp_path)
    model = models.load_causal_lm(tmp_path, SETTINGS)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not model.training


@pytest.mark.parametrize("loader", [models.load_causal_lm, models.load_preference_model])
def test_a_folder_without_a_model_gives_one_line(loader: object, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(ModelError, match=r"config\.json is missing") as error:
        loader(tmp_path, SETTINGS)  # type: ignore[operator]
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\x00" * 64])
def test_damaged_weights_give_one_line(copy: Path, content: bytes) -> None:
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="the weights cannot be read") as error:
        models.load_causal_lm(copy, SETTINGS)
    assert "\n" not in str(error.value)


def test_pickled_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(ModelError):
        models.load_causal_lm(copy, SETTINGS)


def test_missing_weights_are_never_made_up(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"weights are missing: model\.layers\.1\.mlp\.up_proj\.weight"):
        models.load_causal_lm(copy, SETTINGS)


def test_a_language_model_is_no_preference_model(tiny: Path) -> None:
    with pytest.raises(ModelError, match="score"):
        models.load_preference_model(tiny, SETTINGS)


def test_a_tokenizer_without_an_end_is_refused(copy: Path) -> None:
    config = json.loads((copy / "tokenizer_config.json").read_text())
    del config["eos_token"]
    (copy / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="no end token"):
        models.load_tokenizer(copy)


@pytest.mark.parametrize("pad", [None, "<|end|>", "<|pad|>"])
def test_a_preference_model_has_padding_of_its_own(tmp_path: Path, pad: str | None) -> None:
    folder = save_tiny_model(tmp_path / "model", pad=pad)
    tokenizer = models.load_tokenizer(folder)
    model = models.grow_preference_model(folder, tokenizer, SETTINGS, seed=1)
    models.save_model(model, texts_of(tokenizer), tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    read = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert config["pad_token_id"] == read.pad_token_id != read.eos_token_id
    assert models.load_preference_model(tmp_path / "saved", SETTINGS).get_input_embeddings().num_embeddings >= len(read)


def test_the_head_begins_as_the_literature_has_it(tiny: Path) -> None:
    tokenizer = models.load_tokenizer(tiny)
    heads = [
        models.grow_preference_model(tiny, tokenizer, SETTINGS, seed=seed).score.weight.detach() for seed in range(12)
    ]
    assert float(torch.cat(heads).std()) == pytest.approx((32 + 1) ** -0.5, rel=0.2)
    assert torch.equal(heads[0], models.grow_preference_model(tiny, tokenizer, SETTINGS, seed=0).score.weight)


def test_a_merged_adapter_is_the_same_model_for_anyone(tiny: Path, tmp_path: Path) -> None:
    tokenizer = models.load_tokenizer(tiny)
    adapted = models.with_adapter(models.load_causal_lm(tiny, SETTINGS), LoraSettings(rank=4), seed=1)
    names = set(models.trainable_parameters(adapted))
    assert len(names) == 2 * 7 * 2 and not any("lm_head" in name for name in names)
    with torch.no_grad():
        for parameter in models.trainable_parameters(adapted).values():
            parameter += 0.05
        expected = adapted(IDS).logits
    models.save_model(adapted, texts_of(tokenizer), tmp_path / "model")
    with torch.no_grad():
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
        torch.testing.assert_close(plain(IDS).logits, expected, rtol=1e-4, atol=1e-4)
        base = AutoModelForCausalLM.from_pretrained(tiny)
        apart = PeftModel.from_pretrained(base, tmp_path / "model" / "adapter")
        torch.testing.assert_close(apart(IDS).logits, expected, rtol=1e-4, atol=1e-4)
    suffixes = {file.suffix for file in (tmp_path / "model").rglob("*") if file.is_file()}
    assert suffixes == {".json", ".safetensors", ".jinja"}


def test_a_preference_models_head_is_trained_and_saved_with_an_adapter(tiny: Path, tmp_path: Path) -> None:
    tokenizer = models.load_tokenizer(tiny)
    grown = models.grow_preference_model(tiny, tokenizer, SETTINGS, seed=1)
    adapted = models.with_adapter(grown, LoraSettings(rank=4), seed=1)
    heads = [name for name in models.trainable_parameters(adapted) if "score" in name]
    assert len(heads) == 1
    with torch.no_grad():
        for parameter in models.trainable_parameters(adapted).values():
            parameter += 0.05
        expected = adapted(IDS).logits
    models.save_model(adapted, texts_of(tokenizer), tmp_path / "model")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        torch.testing.assert_close(plain(IDS).logits, expected, rtol=1e-4, atol=1e-4)


def test_an_adapter_begins_the_same_from_the_same_seed_and_leaves_torchs_own_alone(tiny: Path) -> None:
    state = torch.random.get_rng_state()
    first, second, other = (
        models.trainable_parameters(
            models.with_adapter(models.load_causal_lm(tiny, SETTINGS), LoraSettings(rank=4), seed)
        )
        for seed in (1, 1, 2)
    )
    assert torch.equal(state, torch.random.get_rng_state())
    name = next(name for name in first if "lora_A" in name)
    assert torch.equal(first[name], second[name]) and not torch.equal(first[name], other[name])


def test_arithmetic_is_put_back(tiny: Path) -> None:
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    with models.arithmetic(EngineSettings(threads=1, matmul=Matmul.MEDIUM)):
        assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (1, "medium")
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before
