"""A transformers Llama read by hand: hidden states with their gradient, and decoding steps over a cache.

`plain_llama` tells whether a module is what this package can read; it is asked anew at each pass, because an adapter or
shards may come into a model later. Rows go through all layers in pieces that suit a processor's cache; a piece is no
longer than its last wanted position, and in the last layer only wanted positions go on.

Axes: B rows, T time, N tokens, H hidden, Q query heads, K key heads, D head width, L cache columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function

from solon.llama.layers import (
    Kept,
    Sizes,
    Span,
    Weights,
    attention,
    attention_backward,
    by_key_head,
    causal,
    feed_forward,
    feed_forward_backward,
    turned,
    unit,
    zeros_like,
)

if TYPE_CHECKING:
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaModel

SMALL = 1 << 25
"""Parameters up to which a model is read by hand: the larger it is, the more of its time is products, and the more the
joined weights, which are a second copy, would be missed elsewhere."""
PIECE = 1408
"""Tokens that go through the layers together: what stands between two products then mostly stays in the cache."""
_STATIC_ROTATIONS = ("default", "linear", "llama3")
_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def plain_llama(model: nn.Module) -> LlamaModel | None:
    """The backbone, if it is a small Llama on a CPU without adapters, biases, shards or moving rotations; else None."""
    # Here and not above: it takes seconds, and where there is a model most of it has been loaded.
    from transformers.models.llama.modeling_llama import (
        LlamaDecoderLayer,
        LlamaForCausalLM,
        LlamaForSequenceClassification,
        LlamaModel,
    )

    if type(model) in (LlamaForCausalLM, LlamaForSequenceClassification):
        model = cast(nn.Module, model.model)
    if type(model) is not LlamaModel:
        return None
    config: Any = model.config
    kind = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    weights = list(model.parameters())
    plain = (
        sum(weight.numel() for weight in weights) <= SMALL
        and config.hidden_act == "silu"
        and kind in _STATIC_ROTATIONS
        and all(type(layer) is LlamaDecoderLayer for layer in model.layers)
        and all(
            type(part) is nn.Linear and part.bias is None
            for layer in model.layers
            for name, part in layer.named_modules()
            if name.rpartition(".")[2] in _LINEAR
        )
        and {weight.device.type for weight in weights} == {"cpu"}
        and {weight.dtype for weight in weights} <= {torch.float32, torch.float64}
        and len({weight.dtype for weight in weights}) == 1
    )
    return model if plain else None


def sizes_of(model: LlamaModel) -> Sizes:
    """What the layers' tensors measure."""
    config: Any = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Sizes(config.num_attention_heads, config.num_key_value_heads, width, config.rms_norm_eps)


def folded(model: LlamaModel) -> list[Weights]:
    """The layers' matrices as `layers` wants them; gradients lead back to the model's own parameters."""
    order = _neighbours(sizes_of(model))
    return [_folded(cast("LlamaDecoderLayer", layer), order) for layer in model.layers]


def _folded(layer: LlamaDecoderLayer, order: Tensor) -> Weights:
    heads, mlp = cast(Any, layer.self_attn), cast(Any, layer.mlp)
    qkv = torch.cat([heads.q_proj.weight, heads.k_proj.weight, heads.v_proj.weight]).index_select(0, order)
    gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
    return Weights(
        qkv * layer.input_layernorm.weight,
        heads.o_proj.weight,
        gate_up * layer.post_attention_layernorm.weight,
        mlp.down_proj.weight,
    )


def _neighbours(sizes: Sizes) -> Tensor:
    """Rows of queries and keys so that coordinates i and i + D/2, which rotation turns together, stand side by side."""
    pairs_D = torch.arange(sizes.width).view(2, -1).t().flatten()
    heads_A1 = torch.arange(sizes.all).unsqueeze(1) * sizes.width
    order_AD = heads_A1 + torch.where(heads_A1 < sizes.rotated * sizes.width, pairs_D, torch.arange(sizes.width))
    return order_AD.flatten()


def turns(model: LlamaModel, positions: Tensor) -> Tensor:
    """e^(i angle) of positions of any shape (...), shape (..., D / 2), complex; a long text's scaling is in it."""
    rotary = cast(Any, model.rotary_emb)
    angle = positions.unsqueeze(-1).float() * rotary.inv_freq
    dtype = model.embed_tokens.weight.dtype
    cosine, sine = angle.cos() * rotary.attention_scaling, angle.sin() * rotary.attention_scaling
    return torch.complex(cosine.to(dtype), sine.to(dtype))


def states(model: LlamaModel, ids_BT: Tensor, wanted_N: Tensor) -> Tensor:
    """Hidden states behind the last norm at the wanted positions of the flattened rows, in rising order, (N, H).

    Rows are padded on the right: no position sees what follows it.
    """
    if not len(wanted_N):
        return cast(Tensor, model.embed_tokens(ids_BT.flatten()[:0]))
    weights = folded(model)
    pieces = _pieces(ids_BT, wanted_N)
    embedded = [cast(Tensor, model.embed_tokens(piece.ids_BT)).flatten(0, 1) for piece in pieces]
    longest = max(piece.ids_BT.shape[1] for piece in pieces)
    plan = _Plan(pieces, sizes_of(model), turns(model, torch.arange(longest)))
    tensors = [tensor for layer in weights for tensor in layer.tensors()]
    hidden_NH = _Layers.apply(plan, torch.cat(embedded), *tensors)  # type: ignore[no-untyped-call]
    return cast(Tensor, model.norm(hidden_NH))


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows that go through the layers together, cut behind the last wanted position."""

    ids_BT: Tensor
    wanted_N: Tensor | None
    """None for all."""

    @property
    def tokens(self) -> int:
        """Positions that go in."""
        return self.ids_BT.numel()

    @property
    def wanted(self) -> int:
        """Positions that come out."""
        return self.tokens if self.wanted_N is None else len(self.wanted_N)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What goes through the layers beside tensors that learn."""

    pieces: Sequence[_Piece]
    sizes: Sizes
    turn_TD: Tensor

    def span(self, piece: _Piece) -> Span:
        rows, time = piece.ids_BT.shape
        return Span(rows, self.turn_TD[:time])


def _pieces(ids_BT: Tensor, wanted_N: Tensor) -> list[_Piece]:
    """Rows in order, as many at a time as fit into `PIECE` tokens; pieces without a wanted position are left out."""
    rows, time = ids_BT.shape
    fitting = max(1, PIECE // time)
    pieces = []
    for start in range(0, rows, fitting):
        own_BT = ids_BT[start : start + fitting]
        inside = (wanted_N >= start * time) & (wanted_N < (start + len(own_BT)) * time)
        own_N = wanted_N[inside] - start * time
        if not len(own_N):
            continue
        row_N, place_N = own_N.div(time, rounding_mode="floor"), own_N % time
        cut = int(place_N.max()) + 1
        all_wanted = len(own_N) == len(own_BT) * cut
        pieces.append(_Piece(own_BT[:, :cut], None if all_wanted else row_N * cut + place_N))
    return pieces


class _Layers(Function):
    """All layers of all pieces; `tensors` are the weights, four by layer."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, x_NH: Tensor, *tensors: Tensor) -> Tensor:
        weights = _by_layer(tensors)
        ctx.plan, ctx.kept = plan, []
        ctx.save_for_backward(*tensors)  # so that weights which are written in between are noticed
        parts = torch.split(x_NH, [piece.tokens for piece in plan.pieces])
        hidden = []
        for piece, part_NH in zip(plan.pieces, parts, strict=True):
            kept: list[tuple[Kept, Kept]] | None = [] if any(ctx.needs_input_grad) else None
            hidden.append(_through(plan, piece, part_NH, weights, kept))
            ctx.kept.append(kept)
        return torch.cat(hidden)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        plan, weights = cast(_Plan, ctx.plan), _by_layer(ctx.saved_tensors)
        if not ctx.kept:
            raise RuntimeError("what these layers kept for their gradient was used up by an earlier backward pass")
        sums = zeros_like(weights)
        parts = torch.split(gradients[0], [piece.wanted for piece in plan.pieces])
        of_x = []
        for piece, part_NH in zip(plan.pieces, parts, strict=True):
            of_x.append(_back(plan, piece, part_NH, ctx.kept.pop(0), (weights, sums)))  # what was used is let go
        return None, torch.cat(of_x), *(tensor for layer in sums for tensor in layer.tensors())


def _by_layer(tensors: Sequence[Tensor]) -> list[Weights]:
    return [Weights(*tensors[at : at + 4]) for at in range(0, len(tensors), 4)]


def _through(
    plan: _Plan, piece: _Piece, x_NH: Tensor, weights: Sequence[Weights], kept: list[tuple[Kept, Kept]] | None
) -> Tensor:
    """A piece's states at its wanted positions; `kept`, if there is one, gets what the gradient needs of each layer."""
    for number, layer in enumerate(weights, start=1):
        wanted_N = piece.wanted_N if number == len(weights) else None
        x_NH, of_attention = attention(x_NH, layer, plan.sizes, plan.span(piece), wanted_N)
        x_NH, of_feed_forward = feed_forward(x_NH, layer, plan.sizes)
        if kept is not None:
            kept.append((of_attention, of_feed_forward))
    return x_NH


def _back(
    plan: _Plan,
    piece: _Piece,
    gradient_NH: Tensor,
    kept: list[tuple[Kept, Kept]],
    weights_and_sums: tuple[Sequence[Weights], Sequence[Weights]],
) -> Tensor:
    """The gradient of a piece's embeddings; those of the weights are added to the sums."""
    layers = list(zip(*weights_and_sums, strict=True))
    for number in range(len(layers), 0, -1):
        layer, sums = layers[number - 1]
        wanted_N = piece.wanted_N if number == len(layers) else None
        of_attention, of_feed_forward = kept.pop()
        gradient_NH = feed_forward_backward(gradient_NH, of_feed_forward, layer, sums)
        gradient_NH = attention_backward(
            gradient_NH, of_attention, (layer, sums), plan.sizes, plan.span(piece), wanted_N
        )
    return gradient_NH


class Cache(Protocol):
    """Keys and values of a layer, to which those of new tokens are written."""

    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        """Add (B, K, T, D); all that is to be read, (B, K, L, D)."""
        ...


class Decoder:
    """A Llama that reads new tokens beside a cache; it is made of the weights as they are at that moment."""

    def __init__(self, model: LlamaModel, head: nn.Module) -> None:
        with torch.no_grad():
            self._weights = folded(model)
        self._model = model
        self._sizes = sizes_of(model)
        self._head = head

    def logits(
        self, ids_BT: Tensor, positions_BT: Tensor, mask_B1TL: Tensor | None, caches: Sequence[Cache], keep: int
    ) -> Tensor:
        """Logits (B, keep, V) of the last `keep` positions; `mask_B1TL` is added to scores, None for a causal one."""
        rows, time = ids_BT.shape
        turn_B1TD = turns(self._model, positions_BT).unsqueeze(1)
        x_NH = cast(Tensor, self._model.embed_tokens(ids_BT)).flatten(0, 1)
        for number, (layer, cache) in enumerate(zip(self._weights, caches, strict=True)):
            unit_NH, _ = unit(x_NH, self._sizes.epsilon)
            heads_BTAD = (unit_NH @ layer.qkv.t()).view(rows, time, self._sizes.all, self._sizes.width)
            read_NX = self._read(heads_BTAD, turn_B1TD, mask_B1TL, cache)
            if number == len(self._weights) - 1 and keep < time:
                read_NX, x_NH = (
                    each.view(rows, time, -1)[:, -keep:].reshape(rows * keep, -1) for each in (read_NX, x_NH)
                )
            x_NH = torch.addmm(x_NH, read_NX, layer.out.t())
            x_NH, _ = feed_forward(x_NH, layer, self._sizes)
        logits: Tensor = self._head(self._model.norm(x_NH))
        return logits.view(rows, min(keep, time), -1)

    def _read(self, heads_BTAD: Tensor, turn_B1TD: Tensor, mask_B1TL: Tensor | None, cache: Cache) -> Tensor:
        """What the new tokens read of the values, (B T, Q D)."""
        sizes = self._sizes
        rows, time = heads_BTAD.shape[:2]
        query_BQTD, key_BKTD = turned(heads_BTAD, sizes, turn_B1TD)
        keys_BKLD, values_BKLD = cache.update(key_BKTD, heads_BTAD[:, :, sizes.rotated :].transpose(1, 2))
        query, key, value = by_key_head(query_BQTD, keys_BKLD, values_BKLD, sizes)
        score = torch.bmm(query, key.transpose(1, 2)).mul_(sizes.width**-0.5)
        columns = key.shape[1]
        if mask_B1TL is None and time > 1:
            mask_B1TL = causal(columns, query)[-time:]
        if mask_B1TL is not None:
            score.view(rows, sizes.heads, time, columns).add_(mask_B1TL)
        read = torch.bmm(score.softmax(-1), value).view(rows, sizes.heads, time, sizes.width)
        return read.transpose(1, 2).reshape(rows * time, -1)
