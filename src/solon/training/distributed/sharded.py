"""A model in shards: every process holds a part of each weight, its gradient and moments (FSDP; Zhao et al. 2023).

Where accelerate was configured for FSDP, torch's `fully_shard` takes the place of summing gradients by hand: layers are
gathered for the length of a pass, and gradients are summed, not averaged, as they are scattered again. All reading of a
model then goes through one root module, because only a module's own call gathers what it holds; every process makes
the same number of passes, for the same reason. Weights are put together again for checkpoints and for the model that
is saved, so neither shows that there were shards. A policy that learns by reinforcement also samples between updates,
as often as its replies are long, which differs between processes: a whole copy in each does it. Of accelerate's
settings those that Solon can follow are followed, and others refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, fully_shard

from solon.errors import ModelError, RunError
from solon.runs.processes import Processes, Sharding
from solon.training.forward import ScalarModel, TokenModel
from solon.training.models import Trainable, inner

T = TypeVar("T")


Read = Callable[[Tensor, Tensor], Tensor]
"""What is read of a model: of token ids (B, T), at the places that the second tensor tells."""


class _Root(nn.Module):
    """The module whose call gathers the weights."""

    def __init__(self, model: Trainable) -> None:
        super().__init__()
        self.model = model

    def forward(self, read: Read, ids_BT: Tensor, where: Tensor) -> Tensor:
        return read(ids_BT, where)


class ShardedTokenModel(TokenModel):
    """A causal language model in shards, read as `TokenModel` reads one."""

    def __init__(self, model: Trainable, processes: Processes) -> None:
        super().__init__(model)  # finds out about the head while the model is whole
        self._plain = TokenModel(model)
        self._root = _sharded(_Root(model), processes)

    def logits_in_pieces(self, ids_BT: Tensor, mask_BT: Tensor, size: int) -> Iterator[Tensor]:
        """See `TokenModel`; all are computed in one pass."""
        yield from torch.split(self._root(self._plain.logits, ids_BT, mask_BT), size)


class ShardedScalarModel(ScalarModel):
    """A classifier in shards, read as `ScalarModel` reads one."""

    def __init__(self, model: Trainable, processes: Processes) -> None:
        super().__init__(model)
        self._plain = ScalarModel(model)
        self._root = _sharded(_Root(model), processes)

    def scores(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """See `ScalarModel`."""
        return self._copied(self._plain.scores, ids_BT, lengths_B)

    def values(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """See `ScalarModel`."""
        return self._copied(self._plain.values, ids_BT, mask_BT)

    def _copied(self, read: Read, ids_BT: Tensor, where: Tensor) -> Tensor:
        """A copy, because a module in shards may not give out a view."""
        copied: Tensor = self._root(lambda *asked: read(*asked).clone(), ids_BT, where)
        return copied


def token_model(model: Trainable, processes: Processes) -> TokenModel:
    """The model as training reads it; afterwards its weights lie in shards where the processes keep them so."""
    return ShardedTokenModel(model, processes) if processes.sharding is Sharding.SHARDED else TokenModel(model)


def scalar_model(model: Trainable, processes: Processes) -> ScalarModel:
    """The same for a classifier."""
    return ShardedScalarModel(model, processes) if processes.sharding is Sharding.SHARDED else ScalarModel(model)


def put_together(model: Trainable, fresh: Callable[[], Trainable], processes: Processes) -> Trainable:
    """The trained model in one piece: `model` itself, or where it lies in shards a `fresh` one with its weights.

    Met by all processes; only in the main one the result is to be used.
    """
    if processes.sharding is Sharding.REPLICATED:
        return model
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    weights: Mapping[str, Tensor] = {name: whole(each).cpu() for name, each in model.named_parameters()}
    if processes.rank:
        return model
    made = fresh()
    _fill(made, weights)
    return made


@dataclass(frozen=True, slots=True)
class Whole:
    """A model in one piece: the one that learns itself, or a copy beside one that lies in shards."""

    model: Trainable
    weights: Callable[[], Mapping[str, Tensor]] | None = None
    """Where it is a copy: what has been learned, by name."""

    def refresh(self) -> None:
        """Take over what has been learned since; where the model is a copy all processes must do it."""
        if self.weights is not None:
            _fill(self.model, self.weights())


def _fill(model: Trainable, weights: Mapping[str, Tensor]) -> None:
    """Copy whole weights into the parameters of these names."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            parameters[name].copy_(weight)


def in_step(processes: Processes, parts: Sequence[T], filler: T) -> Iterator[tuple[T, bool]]:
    """This process's parts, each to be counted; and where models lie in shards as many fillers, not to be counted.

    With them every process makes as many passes as the one with the most parts.
    """
    most = len(parts)
    if processes.sharding is Sharding.SHARDED:  # asked before the first pass, in which processes wait for each other
        most = max(processes.gather([most]))
    yield from ((part, True) for part in parts)
    yield from ((filler, False) for _ in range(most - len(parts)))


def _sharded(root: _Root, processes: Processes) -> _Root:
    plugin = _settings()
    device = inner(root.model).device.type
    mesh = init_device_mesh(device, (processes.count,))
    names = set(plugin.transformer_cls_names_to_wrap or getattr(inner(root.model), "_no_split_modules", None) or ())
    layers = [module for module in root.modules() if type(module).__name__ in names]
    if not layers:
        raise ModelError(
            f"the model has no layers of the kind {', '.join(sorted(names)) or '(none is known)'}",
            place="FSDP",
            remedy="Set fsdp_transformer_layer_cls_to_wrap in accelerate's configuration",
        )
    for module in (*layers, root):
        fully_shard(module, mesh=mesh, reshard_after_forward=bool(plugin.reshard_after_forward))
    for module in root.modules():
        if isinstance(module, FSDPModule):
            # Summed, since each process's loss is its part of the whole batch's; gloo has no other kind of sum.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    return root


def refuse_other_settings() -> None:
    """Raise RunError for settings of FSDP in accelerate's configuration that Solon would not follow."""
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
                f"{name} is not followed",
                place="FSDP",
                remedy="Use fsdp_version: 2 without offload and activation checkpointing in accelerate's configuration",
            )
    return plugin


def whole(tensor: Tensor) -> Tensor:
    """The tensor in one piece, without gradient; where it lies in shards all processes must ask for it."""
    held: Any = tensor.detach()
    found: Tensor = held.full_tensor() if hasattr(held, "full_tensor") else held
    return found


def laid_out_as(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor on the device of `like`, and in shards if `like` is; then all processes must do it."""
    sharded: Any = like.detach()
    if not hasattr(sharded, "full_tensor"):
        return tensor.to(like.device)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(sharded.device), sharded.device_mesh, sharded.placements)
