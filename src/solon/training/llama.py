"""The hidden states of a Llama in fewer and larger operations, with gradients: what training spends its time in.

transformers writes a layer as some forty small operations. Here queries, keys and values are one matrix product, and so
are gate and up; each norm's gain is folded into the weights that read it, so that no norm is stored twice; the rotation
of queries and keys is one complex product; and after the last attention only the wanted positions go on. Weights stay
the model's own parameters and get their gradients there. The result is the model's own up to the rounding of float32.
Anything that is not a plain Llama (adapters, biases, hooks, another activation or attention) is left to transformers.

Axes as in `losses`; P rows of a projection, A heads, D head width, C = D / 2 complex numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from transformers.models.llama.modeling_llama import LlamaModel

_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def product(read_NP: Tensor, weight_QP: Tensor) -> Tensor:
    """The product x W^T, shape (N, Q), by oneDNN where it is there: measured a sixth faster on AMD's cores."""
    on_cpu = read_NP.device.type == "cpu" and read_NP.dtype is torch.float32
    if on_cpu and (linear := _one_dnn()) is not None:
        found: Tensor = linear(read_NP, weight_QP, None, "none", [], "")
        return found
    return read_NP @ weight_QP.t()


@cache
def _one_dnn() -> Callable[..., Tensor] | None:
    """The matrix product of oneDNN for float32, which torch itself only uses in compiled models."""
    if not torch.backends.mkldnn.is_available():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def is_plain(backbone: nn.Module) -> bool:
    """Whether `hidden_states` computes what the backbone would."""
    if type(backbone) is not LlamaModel:
        return False
    config = backbone.config
    plain = config.hidden_act == "silu" and config._attn_implementation == "sdpa" and not config.pretraining_tp > 1
    return plain and not backbone.gradient_checkpointing and all(_is_plain(*each) for each in backbone.named_modules())


def _is_plain(name: str, module: nn.Module) -> bool:
    hooked = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
    if name.rpartition(".")[2] in _PROJECTIONS:
        linear = type(module) is nn.Linear and module.bias is None
        return linear and module.weight.dtype is torch.float32 and type(module.weight) is nn.Parameter and not hooked
    return not hooked


def hidden_states(backbone: nn.Module, ids_BT: Tensor, wanted_N: Tensor) -> Tensor:
    """The states after the final norm at the positions `wanted_N` of the flattened (B, T), shape (N, H).

    Rows start at position 0 and are padded on the right; every token sees itself and what stands before it.
    """
    model = cast(Any, backbone)
    batch, length = ids_BT.shape
    state_NH = functional.embedding(ids_BT.flatten(), model.embed_tokens.weight, model.embed_tokens.padding_idx)
    turn_TC = _turns(model, length, ids_BT.device)
    for number, layer in enumerate(model.layers):
        attention, mlp = layer.self_attn, layer.mlp
        read_NP = _projected(state_NH, layer.input_layernorm, attention.q_proj, attention.k_proj, attention.v_proj)
        heads = read_NP.shape[1] // attention.head_dim
        query, key, value = _Turned.apply(
            read_NP.view(batch, length, heads, attention.head_dim), turn_TC, attention.num_key_value_groups
        )
        mixed = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=attention.scaling, enable_gqa=key.shape[1] != query.shape[1]
        )
        mixed_NH = mixed.transpose(1, 2).reshape(batch * length, -1)
        if number + 1 == len(model.layers):
            state_NH, mixed_NH = state_NH.index_select(0, wanted_N), mixed_NH.index_select(0, wanted_N)
        state_NH = _Joined.apply(state_NH, mixed_NH, attention.o_proj.weight)
        gates_NP = _projected(state_NH, layer.post_attention_layernorm, mlp.gate_proj, mlp.up_proj)
        state_NH = _Joined.apply(state_NH, _Gated.apply(gates_NP), mlp.down_proj.weight)
    normed_NH: Tensor = model.norm(state_NH)
    return normed_NH


def _projected(state_NH: Tensor, norm: Any, *linears: nn.Linear) -> Tensor:
    weights = [linear.weight for linear in linears]
    projected_NP: Tensor = _Projection.apply(state_NH, norm.weight, norm.variance_epsilon, *weights)
    return projected_NP


def _turns(model: Any, length: int, device: torch.device) -> Tensor:
    """The numbers cos + i sin of each position, shape (T, 1, C), from the model's own rotary embedding."""
    positions_1T = torch.arange(length, device=device).unsqueeze(0)
    cosine_1TD, sine_1TD = model.rotary_emb(torch.empty(0, device=device), position_ids=positions_1T)
    half = cosine_1TD.shape[-1] // 2
    return torch.complex(cosine_1TD[0, :, :half], sine_1TD[0, :, :half]).unsqueeze(1)


class _Projection(Function):
    """(x / rms(x) * gain) W^T for several W at once, shape (N, P); (x / rms(x)) is all that is kept of x."""

    @staticmethod
    def forward(ctx: Any, state_NH: Tensor, gain_H: Tensor, epsilon: float, *weights: Tensor) -> Tensor:
        """See the class."""
        scale_N1 = torch.rsqrt(torch.linalg.vecdot(state_NH, state_NH).unsqueeze(1) / state_NH.shape[1] + epsilon)
        unit_NH = state_NH * scale_N1
        whole_PH = torch.cat(weights)
        scaled_PH = whole_PH * gain_H
        ctx.sizes = [len(weight) for weight in weights]
        ctx.save_for_backward(unit_NH, scale_N1, whole_PH, scaled_PH, gain_H)
        return product(unit_NH, scaled_PH)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, of the gain, and of each W."""
        (gradient_NP,) = gradients
        unit_NH, scale_N1, whole_PH, scaled_PH, gain_H = ctx.saved_tensors
        unit_gradient_NH = product(gradient_NP, scaled_PH.t().contiguous())
        along_N1 = torch.linalg.vecdot(unit_gradient_NH, unit_NH).unsqueeze(1) / -unit_NH.shape[1]
        state_gradient_NH = unit_gradient_NH.addcmul_(unit_NH, along_N1).mul_(scale_N1)
        product_PH = gradient_NP.t() @ unit_NH
        gain_gradient_H = (product_PH * whole_PH).sum(0)
        return state_gradient_NH, gain_gradient_H, None, *torch.split(product_PH.mul_(gain_H), ctx.sizes)


class _Joined(Function):
    """x + y W^T, shape (N, H)."""

    @staticmethod
    def forward(ctx: Any, state_NH: Tensor, read_NP: Tensor, weight_HP: Tensor) -> Tensor:
        """See the class."""
        ctx.save_for_backward(read_NP, weight_HP)
        return product(read_NP, weight_HP).add_(state_NH)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of x, y and W."""
        (gradient_NH,) = gradients
        read_NP, weight_HP = ctx.saved_tensors
        return gradient_NH, product(gradient_NH, weight_HP.t().contiguous()), gradient_NH.t() @ read_NP


class _Turned(Function):
    """Queries and keys turned by their positions, and values; (B, A, T, D) each, of a projection (B, T, A..., D)."""

    @staticmethod
    def forward(ctx: Any, read_BTAD: Tensor, turn_TC: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
        """`groups` queries share a key."""
        shared = read_BTAD.shape[2] // (groups + 2)
        ctx.save_for_backward(turn_TC)
        ctx.shape = read_BTAD.shape
        turned_BTAD = _turn(read_BTAD[:, :, :-shared], turn_TC)
        query, key = turned_BTAD[:, :, :-shared].transpose(1, 2), turned_BTAD[:, :, -shared:].transpose(1, 2)
        return query, key, read_BTAD[:, :, -shared:].transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Turned back."""
        query, key, value = (each.transpose(1, 2) for each in gradients)
        (turn_TC,) = ctx.saved_tensors
        back_TC = turn_TC.conj()
        return torch.cat([_turn(query, back_TC), _turn(key, back_TC), value], dim=2), None, None


def _turn(each_BTAD: Tensor, turn_TC: Tensor) -> Tensor:
    """The two halves of a head are real and imaginary parts."""
    first, second = each_BTAD.chunk(2, dim=-1)
    cosine, sine = turn_TC.real, turn_TC.imag
    turned = torch.empty(each_BTAD.shape, dtype=each_BTAD.dtype, device=each_BTAD.device)
    half = first.shape[-1]
    torch.mul(first, cosine, out=turned[..., :half]).addcmul_(second, sine, value=-1)
    torch.mul(second, cosine, out=turned[..., half:]).addcmul_(first, sine)
    return turned


class _Gated(Function):
    """silu(gate) * up of (N, 2 I), gate first; shape (N, I)."""

    @staticmethod
    def forward(ctx: Any, gates_NP: Tensor) -> Tensor:
        """See the class."""
        ctx.save_for_backward(gates_NP)
        gate_NI, up_NI = gates_NP.chunk(2, dim=1)
        return functional.silu(gate_NI).mul_(up_NI)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Both halves in one tensor, for one product with the weights."""
        (gradient_NI,) = gradients
        (gates_NP,) = ctx.saved_tensors
        gate_NI, up_NI = gates_NP.chunk(2, dim=1)
        found_NP = torch.empty_like(gates_NP)
        gate_found_NI, up_found_NI = found_NP.chunk(2, dim=1)
        # silu(z) = z s, and its derivative is s (1 + z (1 - s)) = s + silu(z) (1 - s), with s = sigmoid(z)
        torch.mul(gradient_NI, functional.silu(gate_NI), out=up_found_NI)
        torch.ops.aten.silu_backward.grad_input(gradient_NI * up_NI, gate_NI, grad_input=gate_found_NI)
        return found_NP
