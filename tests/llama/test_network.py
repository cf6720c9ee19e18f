"""A Llama read by hand against transformers, in float64; and what is left to transformers."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import LlamaForCausalLM, LlamaForSequenceClassification, MistralConfig, MistralForCausalLM

from solon.engines.local.kv_cache import KeyValueCache
from solon.llama import network
from solon.llama.network import Decoder, plain_llama, states
from tests.llama.made import SHAPES, llama

ROWS, TIME = 5, 9
IDS = torch.randint(0, 60, (ROWS, TIME), generator=torch.Generator().manual_seed(1))
WANTED = torch.tensor([0, 3, 8, 9, 20, 21, 26, 43])  # nothing of the row of positions 27 to 35

CLOSE = {"rtol": 2e-5, "atol": 2e-5}
"""Transformers computes norms and rotations in float32 whatever the weights are; these models make much of it."""


@pytest.fixture(params=list(SHAPES))
def model(request: pytest.FixtureRequest) -> LlamaForCausalLM:
    return llama(request.param)


@pytest.fixture(params=[1, 2 * TIME, 1000], ids=["a row at a time", "two rows", "all at once"])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "PIECE", request.param)


def by_hand(model: nn.Module, ids_BT: Tensor, wanted_N: Tensor) -> Tensor:
    backbone = plain_llama(model)
    assert backbone is not None
    return states(backbone, ids_BT, wanted_N)


def by_modules(model: Any, ids_BT: Tensor, wanted_N: Tensor) -> Tensor:
    hidden_BTH: Tensor = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
    return hidden_BTH.flatten(0, 1)[wanted_N]


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("wanted_N", [WANTED, torch.arange(ROWS * TIME)], ids=["some positions", "all positions"])
def test_states_and_gradients_are_those_of_transformers(model: LlamaForCausalLM, wanted_N: Tensor) -> None:
    found, expected = by_hand(model, IDS, wanted_N), by_modules(model, IDS, wanted_N)
    torch.testing.assert_close(found, expected, **CLOSE)
    weights = list(model.model.parameters())
    gradient = torch.randn(expected.shape, dtype=expected.dtype, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        torch.autograd.grad(found, weights, gradient),
        torch.autograd.grad(expected, weights, gradient),
        rtol=1e-4,
        atol=1e-4,
    )


@given(st.lists(st.booleans(), min_size=ROWS * TIME, max_size=ROWS * TIME).filter(any), st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_any_positions_in_any_pieces_have_the_same_states(mask: list[bool], piece: int) -> None:
    wanted_N = torch.tensor(mask).nonzero().squeeze(1)
    with pytest.MonkeyPatch.context() as patched, torch.no_grad():
        patched.setattr(network, "PIECE", piece)
        found = by_hand(_GROUPED, IDS, wanted_N)
    torch.testing.assert_close(found, _ALL_STATES[wanted_N], rtol=1e-9, atol=1e-9)


_GROUPED = llama()
with torch.no_grad():
    _ALL_STATES = by_hand(_GROUPED, IDS, torch.arange(ROWS * TIME))


def test_of_no_positions_there_are_no_states() -> None:
    assert by_hand(llama(), IDS, torch.arange(0)).shape == (0, 24)


def test_without_gradients_nothing_is_kept() -> None:
    model = llama()
    with torch.no_grad():
        assert by_hand(model, IDS, WANTED).grad_fn is None
    model.requires_grad_(False)
    assert by_hand(model, IDS, WANTED).grad_fn is None


def test_a_second_backward_pass_is_refused() -> None:
    loss = by_hand(llama(), IDS, WANTED).sum()
    loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    with pytest.raises(RuntimeError, match="used up by an earlier backward pass"):
        loss.backward()  # type: ignore[no-untyped-call]


def test_weights_that_change_before_the_backward_pass_are_noticed() -> None:
    model = llama()
    loss = by_hand(model, IDS, WANTED).sum()
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()  # type: ignore[no-untyped-call]


def test_weights_that_are_frozen_get_no_gradient() -> None:
    model = llama()
    frozen = model.model.layers[1].mlp.down_proj.weight.requires_grad_(False)
    by_hand(model, IDS, WANTED).sum().backward()  # type: ignore[no-untyped-call]
    assert frozen.grad is None
    assert model.model.layers[1].mlp.up_proj.weight.grad is not None


def test_the_weights_are_read_anew_at_every_pass() -> None:
    model = llama()
    with torch.no_grad():
        before = by_hand(model, IDS, WANTED)
        model.model.layers[0].mlp.down_proj.weight.mul_(2)
        assert not torch.allclose(by_hand(model, IDS, WANTED), before)
        torch.testing.assert_close(by_hand(model, IDS, WANTED), by_modules(model, IDS, WANTED), **CLOSE)


def decoded(decoder: Decoder, cut: int) -> Tensor:
    """Logits of all positions but the first `cut - 1`: the first ones in one pass, then token by token."""
    cache = KeyValueCache(len(_layers(decoder)), limit=TIME)
    with torch.inference_mode():
        found = [decoder.logits(IDS[:, :cut], torch.arange(cut).expand(ROWS, -1), None, cache.slabs, 1)]
        for at in range(cut, TIME):
            cache.start = at
            found.append(decoder.logits(IDS[:, at : at + 1], torch.full((ROWS, 1), at), None, cache.slabs, 1))
    return torch.cat(found, 1)


def _layers(decoder: Decoder) -> list[Any]:
    return cast(list[Any], decoder._weights)


@pytest.mark.parametrize("cut", [1, 4, TIME])
def test_decoding_gives_the_logits_of_transformers(model: LlamaForCausalLM, cut: int) -> None:
    with torch.no_grad():
        expected = model(IDS).logits[:, cut - 1 :]
    torch.testing.assert_close(decoded(Decoder(model.model, model.lm_head), cut), expected, **CLOSE)


def test_of_several_positions_the_last_are_kept(model: LlamaForCausalLM) -> None:
    decoder = Decoder(model.model, model.lm_head)
    places = torch.arange(TIME).expand(ROWS, -1)
    with torch.inference_mode():
        whole = decoder.logits(IDS, places, None, KeyValueCache(len(_layers(decoder)), limit=TIME).slabs, TIME)
        last = decoder.logits(IDS, places, None, KeyValueCache(len(_layers(decoder)), limit=TIME).slabs, 2)
    assert whole.shape[:2] == (ROWS, TIME)
    torch.testing.assert_close(last, whole[:, -2:])


def adapted() -> nn.Module:
    model = llama(dtype=torch.float32)
    get_peft_model(cast(Any, model), LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    return model


def sliding() -> nn.Module:
    sizes = {"vocab_size": 60, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 1}
    return MistralForCausalLM(MistralConfig(**sizes, num_attention_heads=4, num_key_value_heads=2))


@pytest.mark.parametrize(
    "other",
    [
        adapted,
        sliding,
        lambda: llama(hidden_act="gelu"),
        lambda: llama(attention_bias=True),
        lambda: llama(mlp_bias=True),
        lambda: llama(dtype=torch.bfloat16),
        lambda: llama(rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}),
        lambda: llama(device_map=None).to("meta"),
    ],
    ids=["adapter", "other architecture", "activation", "bias", "bias", "precision", "moving rotation", "device"],
)
def test_other_models_are_left_to_transformers(other: Callable[[], nn.Module]) -> None:
    assert plain_llama(other()) is None


def test_large_models_are_left_to_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama()
    count = sum(weight.numel() for weight in model.model.parameters())
    monkeypatch.setattr(network, "SMALL", count)
    assert plain_llama(model) is model.model
    monkeypatch.setattr(network, "SMALL", count - 1)
    assert plain_llama(model) is None


def test_a_classifier_and_a_bare_backbone_are_read_as_well() -> None:
    model = llama()
    classifier = LlamaForSequenceClassification(model.config)
    assert plain_llama(classifier) is classifier.model
    assert plain_llama(model.model) is model.model


def test_the_engine_is_imported_without_any_architecture() -> None:
    code = "import sys, solon.engines.local.engine; print('transformers.models.llama.modeling_llama' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
