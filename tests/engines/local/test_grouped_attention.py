"""Packed groups of query heads give the numbers of repeated keys, and leave the model as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.engines.tiny import model_of
from torch import Tensor, nn

from solon.engines.local import grouped_attention
from solon.engines.local.causal_model import CausalModel
from solon.engines.local.grouped_attention import GROUPED, GroupedAttention
from solon.engines.local.kv_cache import CacheSize

CPU = torch.device("cpu")
GROUPS = {"llama": 2, "llama-of-wide-heads": 2, "qwen2": 2, "mistral": 2}


def logits_of(model: CausalModel) -> Tensor:
    """Logits of three rows, of which the second is padded on the left."""
    torch.manual_seed(0)
    ids_BT = torch.randint(2, 400, (3, 30))
    positions_BT = torch.arange(30).expand(3, -1).clone()
    positions_BT[1] = torch.cat([torch.zeros(6, dtype=torch.long), torch.arange(24)])
    key_BT = positions_BT.clone()
    key_BT[1, :6] = torch.iinfo(torch.int64).max
    with torch.inference_mode():
        cache = model.new_cache(CacheSize(3, 30))
        return model.forward(ids_BT, positions_BT, model.mask(positions_BT, key_BT), cache, 24)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes of the queries that are packed from now on."""
    shapes: list[torch.Size] = []
    kernel = nn.functional.scaled_dot_product_attention

    def counting(query: Tensor, *given: Any, **named: Any) -> Tensor:
        shapes.append(query.shape)
        return kernel(query, *given, **named)

    monkeypatch.setattr(grouped_attention.functional, "scaled_dot_product_attention", counting)
    return shapes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", GROUPS)
def test_packed_groups_give_the_numbers_of_repeated_keys(kind: str, dtype: torch.dtype) -> None:
    packed, plain = CausalModel(model_of(kind, dtype=dtype), 160), CausalModel(model_of(kind, dtype=dtype), 160)
    plain._attention._groups = 1
    torch.testing.assert_close(logits_of(packed), logits_of(plain), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "groups"), GROUPS.items())
def test_the_kernel_gets_one_sequence_for_each_key_value_head(
    kind: str, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = CausalModel(model_of(kind, dtype=torch.float32), 160)
    shapes = counted(monkeypatch)
    logits_of(model)
    assert [shape[1:3] for shape in shapes if shape[0] == 3] == [(2, groups * 30)] * model.layers


@pytest.mark.parametrize("kind", ["neox", "gpt2"])
def test_a_model_without_groups_keeps_its_attention(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = CausalModel(model_of(kind, dtype=torch.float32), 160)
    mask = model.mask(torch.arange(4).unsqueeze(0), torch.arange(4).unsqueeze(0))
    with model._attention.packed(mask, 4) as packed:
        assert packed is mask


def test_another_attention_than_the_default_is_left_alone() -> None:
    model = model_of("llama", dtype=torch.float32)
    model.config._attn_implementation = "eager"
    mask = torch.zeros(1, 1, 4, 4)
    with GroupedAttention(model, CPU).packed(mask, 4) as packed:
        assert packed is mask and model.config._attn_implementation == "eager"


def test_the_model_has_its_own_attention_again_after_a_pass_that_fails() -> None:
    model = model_of("llama", dtype=torch.float32)
    attention = GroupedAttention(model, CPU)
    with pytest.raises(RuntimeError, match="stop"), attention.packed(torch.zeros(1, 1, 4, 4), 4) as packed:
        assert isinstance(packed, Tensor) and packed.shape == (1, 1, 8, 4)
        assert model.config._attn_implementation == GROUPED
        raise RuntimeError("stop")
    assert model.config._attn_implementation == "sdpa"


def test_a_layer_with_a_key_for_each_query_head_gets_its_part_of_the_mask() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 4, 5, 8) for _ in range(3))
    mask_B1TL = torch.zeros(2, 1, 5, 5).masked_fill_(torch.ones(5, 5).triu(1).bool(), torch.finfo(torch.float32).min)
    found, _ = grouped_attention.grouped_attention(nn.Module(), query, key, value, mask_B1TL.repeat(1, 1, 2, 1))
    wanted = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(found, wanted.transpose(1, 2))
