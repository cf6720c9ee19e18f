"""A model in shards: every process holds a part of each weight, its gradient and moments (FSDP; Zhao et al. 2023).

With accelerate configured for FSDP, torch's `fully_shard` sums the gradients: layers are gathered for the length of a
pass, and gradients are summed, not averaged, when they are scattered. Every forward pass goes through one root module,
because only the call of a module gathers its weights, and every process makes the same number of passes. Checkpoints
and saved models hold whole weights, the same as without shards. A policy in reinforcement learning also samples between
updates, with a number of steps that differs between processes; each process has a whole copy for that. Settings of
accelerate that Solon does not support raise an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, fully_shard

from solon.config.settings import Activations, Precision
from solon.errors import ModelError, RunError
from solon.runs.processes import Processes, Sharding
from solon.training.forward import AttentionLayout, ScalarModel, TokenModel
from solon.training.gradient_checkpointing import checkpoint_activations
from solon.training.models import Trainable, unwrap_adapter
from solon.training.value_head import ValueHead

T = TypeVar("T")


ForwardFunction = Callable[[Tensor, Tensor], Any]
"""Reads a model's numbers: of token ids (B, T), at the places in the second tensor."""


class _Root(nn.Module):
    """The root module; its call gathers the weights."""

    def __init__(self, model: Trainable, value_head: ValueHead | None = None) -> None:
        super().__init__()
        self.model = model
        self.value_head = value_head

    def forward(self, function: ForwardFunction, ids_BT: Tensor, where: Tensor) -> Any:
        return function(ids_BT, where)


class ShardedTokenModel(TokenModel):
    """`TokenModel` for a model in shards."""

    def __init__(
        self, model: Trainable, processes: Processes, precision: Precision, value_head: ValueHead | None = None
    ) -> None:
        super().__init__(model, precision, value_head)  # probes the head while the model is whole
        self._plain = TokenModel(model, precision, value_head)
        self._root = _sharded(_Root(model, value_head), processes)

    def logits_in_pieces(self, ids_BT: Tensor, mask_BT: Tensor, size: int) -> Iterator[Tensor]:
        """See `TokenModel`; one pass computes all pieces."""
        yield from torch.split(self._root(self._plain.logits, ids_BT, mask_BT), size)

    def completion_loss(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        loss: Tensor = self._root(self._plain.completion_loss, ids_BT, mask_BT)
        return loss

    def logits_and_values(self, ids_BT: Tensor, mask_BT: Tensor, size: int) -> tuple[Iterator[Tensor], Tensor]:
        logits_NV, value_N = self._root(self._both, ids_BT, mask_BT)
        return iter(torch.split(logits_NV, size)), value_N

    def _both(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        pieces, value_N = self._plain.logits_and_values(ids_BT, mask_BT, int(mask_BT.sum()) or 1)
        return torch.cat(list(pieces)), value_N.clone()  # no view, see `ShardedScalarModel`

    def values(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        value_N: Tensor = self._root(lambda *asked: self._plain.values(*asked).clone(), ids_BT, mask_BT)
        return value_N


class ShardedScalarModel(ScalarModel):
    """`ScalarModel` for a classifier in shards."""

    def __init__(self, model: Trainable, processes: Processes, precision: Precision) -> None:
        super().__init__(model, precision=precision)
        self._plain = ScalarModel(model, precision=precision)
        self._root = _sharded(_Root(model), processes)

    def scores(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        return self._copied(self._plain.scores, ids_BT, lengths_B)

    def values(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        return self._copied(self._plain.values, ids_BT, mask_BT)

    def scores_at(self, ids_BT: Tensor, places_N: Tensor, layout: AttentionLayout) -> Tensor:
        return self._copied(lambda ids, places: self._plain.scores_at(ids, places, layout), ids_BT, places_N)

    def _copied(self, function: ForwardFunction, ids_BT: Tensor, where: Tensor) -> Tensor:
        """Return a copy, because a module in shards may not return a view."""
        copied: Tensor = self._root(lambda *asked: function(*asked).clone(), ids_BT, where)
        return copied


def token_model(
    model: Trainable,
    processes: Processes,
    precision: Precision = Precision.FLOAT32,
    activations: Activations = Activations.KEPT,
    value_head: ValueHead | None = None,
) -> TokenModel:
    """The model for training; with FSDP its weights, and those of the value head, are then in shards."""
    checkpoint_activations(model, activations)
    if processes.sharding is Sharding.SHARDED:
        return ShardedTokenModel(model, processes, precision, value_head)
    return TokenModel(model, precision, value_head)


def scalar_model(
    model: Trainable,
    processes: Processes,
    precision: Precision = Precision.FLOAT32,
    activations: Activations = Activations.KEPT,
) -> ScalarModel:
    """The same for a classifier."""
    checkpoint_activations(model, activations)
    if processes.sharding is Sharding.SHARDED:
        return ShardedScalarModel(model, processes, precision)
    return ScalarModel(model, precision=precision)


def unshard(model: Trainable, fresh: Callable[[], Trainable], processes: Processes) -> Trainable:
    """The unsharded trained model: `model` itself, or with FSDP a `fresh` one with its weights.

    Collective: every process must call it. Only the main process may use the result.
    """
    if processes.sharding is Sharding.REPLICATED:
        return model
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    weights: Mapping[str, Tensor] = {name: full_tensor(each).cpu() for name, each in model.named_parameters()}
    if processes.rank:
        return model
    made = fresh()
    _fill(made, weights)
    return made


@dataclass(frozen=True, slots=True)
class UnshardedModel:
    """The trained model itself, or with FSDP an unsharded copy of it."""

    model: Trainable
    weights: Callable[[], Mapping[str, Tensor]] | None = None
    """For a copy: returns the trained weights by name."""

    def refresh(self) -> None:
        """Update a copy to the trained weights. Collective: every process must call it."""
        if self.weights is not None:
            _fill(self.model, self.weights())


def _fill(model: Trainable, weights: Mapping[str, Tensor]) -> None:
    """Copy whole weights into the parameters of these names."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            parameters[name].copy_(weight)


def pad_passes(processes: Processes, parts: Sequence[T], filler: T) -> Iterator[tuple[T, bool]]:
    """Yields (part, True) for this process's parts, then (filler, False) until all ranks have made equally many passes.

    Only FSDP needs fillers: without shards a rank does not wait for the passes of another.
    """
    most = len(parts)
    if processes.sharding is Sharding.SHARDED:  # before the first pass, in which processes wait for each other
        most = max(processes.gather([most]))
    yield from ((part, True) for part in parts)
    yield from ((filler, False) for _ in range(most - len(parts)))


def _sharded(root: _Root, processes: Processes) -> _Root:
    plugin = _settings()
    plain = unwrap_adapter(root.model)
    mesh = init_device_mesh(plain.device.type, (processes.count,))
    names = set(plugin.transformer_cls_names_to_wrap or getattr(plain, "_no_split_modules", None) or ())
    layers = [module for module in root.modules() if type(module).__name__ in names]
    if not layers:
        raise ModelError(
            f"the model has no layers of the type {', '.join(sorted(names)) or '(unknown)'}",
            place="FSDP",
            remedy="Set fsdp_transformer_layer_cls_to_wrap in accelerate's configuration",
        )
    for module in (*layers, root):
        fully_shard(module, mesh=mesh, reshard_after_forward=bool(plugin.reshard_after_forward))
    for module in root.modules():
        if isinstance(module, FSDPModule):
            # Summed, since each process's loss is its part of the whole batch's; gloo supports no other reduction.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    return root


def refuse_other_settings() -> None:
    """Raise RunError for settings of FSDP in accelerate's configuration that Solon does not support."""
    _settings()


def _settings() -> Any:
    from accelerate import FullyShardedDataParallelPlugin

    plugin = FullyShardedDataParallelPlugin()
    refused = {
        "fsdp_version=1": plugin.fsdp_version != 2,
        "fsdp_offload_params": isinstance(plugin.cpu_offload, CPUOffloadPolicy),
        "fsdp_activation_checkpointing": plugin.activation_checkpointing,
    }
    for name, used in refused.items():
        if used:
            raise RunError(
                f"{name} is not supported",
                place="FSDP",
                remedy="Use fsdp_version: 2 without offload and activation checkpointing in accelerate's configuration",
            )
    return plugin


def full_tensor(tensor: Tensor) -> Tensor:
    """The whole tensor, without gradient. Collective for a tensor in shards."""
    held: Any = tensor.detach()
    found: Tensor = held.full_tensor() if hasattr(held, "full_tensor") else held
    return found


def local_tensor(tensor: Tensor) -> Tensor:
    """What this process holds of the tensor, without gradient and with the same memory: all of it, or its shard."""
    held: Any = tensor.detach()
    found: Tensor = held.to_local() if hasattr(held, "to_local") else held
    return found


def distribute_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor on the device of `like`, and in shards if `like` is. Collective for shards."""
    sharded: Any = like.detach()
    if not hasattr(sharded, "full_tensor"):
        return tensor.to(like.device)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(sharded.device), sharded.device_mesh, sharded.placements)
