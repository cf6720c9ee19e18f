"""Weights that a configuration leaves out: refused where the model needs them, named where it may do without."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from solon.config.recipe import EngineSettings
from solon.engines.local.engine import LocalEngine
from solon.errors import ModelError
from solon.model_folders.load import ModelHead, load_model
from solon.training.models import grow_preference_model, load_preference_model, load_tokenizer
from tests.engines.tiny import byte_tokenizer, model_of

Change = Callable[[dict[str, Tensor]], Mapping[str, object]]
"""Changes the weights, and returns what to change in config.json."""


def folder_with(folder: Path, change: Change, kind: str = "llama") -> Path:
    """A sound folder after a change."""
    model_of(kind, dtype=torch.float32).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text()) | change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def with_weights(**more: tuple[int, ...]) -> Change:
    def change(weights: dict[str, Tensor]) -> Mapping[str, object]:
        weights.update({name: torch.ones(shape) for name, shape in more.items()})
        return {}

    return change


def fewer_layers(weights: dict[str, Tensor]) -> Mapping[str, object]:
    return {"num_hidden_layers": 1}


def predicting_ahead(weights: dict[str, Tensor]) -> Mapping[str, object]:
    """The last layer is one of multi-token prediction, as in DeepSeek V3."""
    return {"num_hidden_layers": 1, "num_nextn_predict_layers": 1}


def adapter_inside(weights: dict[str, Tensor]) -> Mapping[str, object]:
    name = "model.layers.0.self_attn.q_proj."
    weights[f"{name}base_layer.weight"] = weights.pop(f"{name}weight")
    weights[f"{name}lora_A.default.weight"] = torch.ones(4, 32)
    return {}


Q_BIAS, Q_NORM = "model.layers.0.self_attn.q_proj.bias", "model.layers.1.self_attn.q_norm.weight"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (fewer_layers, r"no place for the weights model\.layers\.1\.input_layernorm\.weight, .* and 6 more$"),
        (with_weights(**{Q_BIAS: (32,)}), rf"no place for the weights {Q_BIAS}$"),
        (with_weights(**{Q_NORM: (8,)}), rf"no place for the weights {Q_NORM}$"),
        (with_weights(**{"model.norm.bias": (32,)}), r"no place for the weights model\.norm\.bias$"),
        (with_weights(**{"model.layers.0.mlp.up_proj.lora_A.weight": (4, 32)}), "an adapter that is not merged: "),
        (adapter_inside, "an adapter that is not merged: "),
    ],
)
def test_weights_that_belong_to_the_model_are_not_left_out(tmp_path: Path, change: Change, cause: str) -> None:
    with pytest.raises(ModelError) as caught:
        LocalEngine.load(folder_with(tmp_path, change))
    assert re.search(cause, caught.value.cause)
    assert caught.value.place.startswith(str(tmp_path)) and caught.value.remedy


@pytest.mark.parametrize(
    ("change", "kind", "remark"),
    [
        (with_weights(), "llama", None),
        (predicting_ahead, "llama", "model.layers.1.input_layernorm.weight"),
        (with_weights(**{"vision_tower.layers.0.q_proj.weight": (8, 8)}), "llama", "vision_tower.layers.0.q_proj"),
        (with_weights(**{"mtp.layers.0.q_proj.weight": (8, 8)}), "llama", "mtp.layers.0.q_proj.weight"),
        (with_weights(**{"v_head.summary.weight": (1, 32)}), "llama", "v_head.summary.weight"),
        (with_weights(**{"model.layers.0.self_attn.k_proj.k_scale": (1,)}), "llama", "k_proj.k_scale"),
        (with_weights(**{"model.layers.0.self_attn.rotary_emb.inv_freq": (4,)}), "llama", None),
        (with_weights(**{"transformer.h.0.attn.bias": (1, 1, 8, 8)}), "gpt2", None),
        (with_weights(**{"transformer.h.0.attn.masked_bias": ()}), "gpt2", None),
        (with_weights(**{"gpt_neox.layers.0.attention.bias": (1, 1, 8, 8)}), "neox", None),
        (with_weights(**{"gpt_neox.layers.0.attention.masked_bias": ()}), "neox", None),
    ],
)
def test_weights_that_a_model_may_do_without(tmp_path: Path, change: Change, kind: str, remark: str | None) -> None:
    engine = LocalEngine.load(folder_with(tmp_path, change, kind), EngineSettings(memory_gib=1))
    found = [each for each in engine.remarks if "does not use these weights" in each]
    assert len(found) == (remark is not None) and all(remark in each for each in found if remark)


def test_a_preference_model_is_no_language_model_and_the_reverse(tmp_path: Path) -> None:
    def tied(weights: dict[str, Tensor]) -> Mapping[str, object]:
        del weights["lm_head.weight"]
        return {"tie_word_embeddings": True}

    base = folder_with(tmp_path / "base", tied)
    with pytest.raises(ModelError, match=r"no preference model \(LlamaForCausalLM\)") as caught:
        load_preference_model(base, EngineSettings())
    assert "preference-model" in caught.value.remedy and caught.value.place == str(base)
    tokenizer = load_tokenizer(base)
    grown = grow_preference_model(base, tokenizer, EngineSettings(), 3)
    grown.save_pretrained(tmp_path / "scores")
    tokenizer.save_pretrained(tmp_path / "scores")
    assert load_preference_model(tmp_path / "scores", EngineSettings()).config.num_labels == 1
    with pytest.raises(ModelError, match="and no language model") as caught:
        LocalEngine.load(tmp_path / "scores")
    assert "LlamaForSequenceClassification" in caught.value.cause
    assert load_model(ModelHead.CLASSIFIER, base, dtype=torch.float32, labels=2).config.num_labels == 2
