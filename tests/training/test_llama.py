from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaModel

from solon.training import llama
from solon.training.forward import chosen_states


def model_of(**changes: object) -> LlamaModel:
    sizes = {
        "vocab_size": 50, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 6,
        "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "pad_token_id": 1,
    }  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**{**sizes, **changes})).eval().model
    for name, parameter in model.named_parameters():
        if "norm" in name:
            nn.init.uniform_(parameter, 0.5, 1.5)
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_key_value_heads": 6},
        {"num_key_value_heads": 1, "head_dim": 4},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1000.0}},
    ],
)
def test_states_and_gradients_are_those_of_transformers(changes: dict[str, object]) -> None:
    model = model_of(**changes)
    assert llama.is_plain(model)
    ids_BT = torch.randint(0, 50, (5, 13))
    wanted_N = torch.tensor([2, 3, 12, 13, 40, 64])
    weight_NH = torch.randn(len(wanted_N), 24)
    found = []
    for states_NH in (
        model(input_ids=ids_BT, use_cache=False).last_hidden_state.flatten(0, 1).index_select(0, wanted_N),
        llama.hidden_states(model, ids_BT, wanted_N),
    ):
        model.zero_grad()
        (states_NH * weight_NH).sum().backward()
        found.append((states_NH.detach(), {name: each.grad for name, each in model.named_parameters()}))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-4)


def test_gradients_agree_with_finite_differences_in_float64() -> None:
    turn_TC = torch.polar(torch.ones(3, 1, 2, dtype=torch.float64), torch.rand(3, 1, 2, dtype=torch.float64))
    state, gain = (torch.randn(*size, dtype=torch.float64, requires_grad=True) for size in ((4, 6), (6,)))
    weights = [torch.randn(rows, 6, dtype=torch.float64, requires_grad=True) for rows in (2, 3)]
    heads = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(llama._Projection.apply, (state, gain, 1e-6, *weights))
    assert torch.autograd.gradcheck(llama._Turned.apply, (heads, turn_TC, 2))
    assert torch.autograd.gradcheck(llama._Gated.apply, (state,))
    assert torch.autograd.gradcheck(llama._Joined.apply, (state, torch.randn_like(state), weights[0].new_ones(6, 6)))


def test_what_is_no_plain_llama_is_left_to_transformers() -> None:
    assert not llama.is_plain(model_of(attention_bias=True))
    assert not llama.is_plain(model_of(mlp_bias=True))
    assert not llama.is_plain(model_of(hidden_act="gelu"))
    assert not llama.is_plain(model_of(attn_implementation="eager"))
    assert not llama.is_plain(model_of().bfloat16())
    assert not llama.is_plain(nn.Linear(3, 3))
    hooked, calls = model_of(), []
    assert llama.is_plain(hooked)
    hooked.layers[1].mlp.register_forward_hook(lambda *given: calls.append(given))
    assert not llama.is_plain(hooked)
    chosen_states(hooked, torch.tensor([[2, 3]]), torch.tensor([1]))
    assert len(calls) == 1
