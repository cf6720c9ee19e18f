"""Shapes read off headers and names, against models that transformers builds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from solon.config.known_shapes import KNOWN_SHAPES
from solon.config.recipe import LoraSettings
from solon.model_folders.model_shape import ModelShape, shape_in
from solon.training.models import trainable_parameters, with_adapter
from tests.engines.tiny import model_of


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", "neox", "mistral", "gemma2"])
def test_the_weights_of_a_folder_are_counted(kind: str, tmp_path: Path) -> None:
    model = model_of(kind)
    model.save_pretrained(tmp_path)
    shape = shape_in(tmp_path)
    assert shape.parameters == sum(each.numel() for each in model.parameters())
    config = model.config
    assert (shape.layers, shape.hidden) == (config.num_hidden_layers, config.hidden_size)
    assert shape.vocabulary == config.vocab_size


@pytest.mark.parametrize("kind", ["llama", "qwen2", "mistral", "gemma2"])
def test_an_adapter_has_as_many_weights_as_the_shape_says(kind: str, tmp_path: Path) -> None:
    model_of(kind).save_pretrained(tmp_path)
    shape = shape_in(tmp_path)
    adapted = with_adapter(model_of(kind), LoraSettings(rank=3), seed=0)
    assert 3 * shape.sides == sum(each.numel() for each in trainable_parameters(adapted).values())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Qwen/Qwen2.5-0.5B", 494_032_768),
        ("Qwen/Qwen2.5-1.5B", 1_543_714_304),
        ("Qwen/Qwen2.5-7B", 7_615_616_512),
        ("Qwen/Qwen2.5-72B-Instruct", 72_706_203_648),
        ("meta-llama/Llama-3.1-8B", 8_030_261_248),
        ("meta-llama/Llama-3.3-70B-Instruct", 70_553_706_496),
    ],
)
def test_known_models_have_their_published_number_of_parameters(name: str, parameters: int) -> None:
    found = KNOWN_SHAPES[name]
    assert ModelShape.known(found).parameters == parameters
    make = Qwen2Config if name.startswith("Qwen") else LlamaConfig
    config = make(
        num_hidden_layers=found.layers, hidden_size=found.hidden, intermediate_size=found.inner,
        num_attention_heads=found.heads, num_key_value_heads=found.key_heads, vocab_size=found.vocabulary,
        tie_word_embeddings=found.tied,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert sum(each.numel() for each in model.parameters()) == parameters


@pytest.mark.parametrize(("parameters", "hidden"), [(8e9, 4096), (52e9, 8192)])
def test_a_size_alone_gives_a_typical_shape(parameters: float, hidden: int) -> None:
    shape = ModelShape.typical(parameters)
    assert shape.parameters == parameters and shape.hidden == pytest.approx(hidden, rel=0.15)
    assert 12 * shape.layers * shape.hidden**2 == pytest.approx(parameters, rel=0.15)
