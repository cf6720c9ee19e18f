"""Sound folders of every kind are loaded as they are; what is refused of hostile ones is in `tests/attacks`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM

from solon.engines.local.engine import LocalEngine
from solon.model_folders.folder_check import check_folder
from solon.model_folders.load import ModelHead, load_config, load_generation_config, load_model, load_tokenizer
from tests.engines.tiny import byte_tokenizer, model_of


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", ["llama", "qwen2", "neox", "gpt2", "mistral", "gemma2"])
def test_architectures_and_precisions(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    made = model_of(kind, dtype=dtype)
    made.save_pretrained(tmp_path)
    read = load_model(ModelHead.LANGUAGE_MODEL, tmp_path, dtype="auto")
    assert read.dtype is dtype and not read.training
    for name, weight in made.state_dict().items():
        assert torch.equal(weight, read.state_dict()[name]), name
    assert load_config(tmp_path).model_type == made.config.model_type


def test_experts(tmp_path: Path) -> None:
    config = MixtralConfig(
        vocab_size=100, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=4,
    )  # fmt: skip
    made = MixtralForCausalLM(config)
    made.save_pretrained(tmp_path)
    read = load_model(ModelHead.LANGUAGE_MODEL, tmp_path, dtype=torch.float32).eval()
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        torch.testing.assert_close(read(ids).logits, made.eval()(ids).logits)


def test_a_model_in_shards(tmp_path: Path) -> None:
    made = model_of("llama", dtype=torch.float32)
    made.save_pretrained(tmp_path, max_shard_size="40KB")
    byte_tokenizer().save_pretrained(tmp_path)
    shards = {file.name for file in tmp_path.glob("*.safetensors")}
    assert len(shards) > 1
    assert check_folder(tmp_path).contents.tensors == len(made.state_dict())
    read = LocalEngine.load(tmp_path, device="cpu").model
    assert all(torch.equal(weight, read.state_dict()[name]) for name, weight in made.state_dict().items())


def test_loading_draws_nothing_and_keeps_the_folder(tmp_path: Path) -> None:
    model_of("llama", dtype=torch.float32).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    state = torch.random.get_rng_state()
    load_model(ModelHead.LANGUAGE_MODEL, tmp_path, dtype=torch.float32)
    load_tokenizer(tmp_path)
    assert torch.equal(state, torch.random.get_rng_state())
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_new_head_may_be_missing_and_takes_its_width(tmp_path: Path) -> None:
    model_of("llama", dtype=torch.float32).save_pretrained(tmp_path)
    model = load_model(
        ModelHead.CLASSIFIER,
        tmp_path,
        dtype=torch.float32,
        labels=1,
        attention="eager",
    )
    assert model.get_parameter("score.weight").shape == (1, 32)
    assert model.config._attn_implementation == "eager" and model.config.num_labels == 1


def test_generation_settings(tmp_path: Path) -> None:
    assert load_generation_config(tmp_path) is None
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [3, 4], "temperature": 0.5}))
    settings = load_generation_config(tmp_path)
    assert settings is not None and settings.eos_token_id == [3, 4]
