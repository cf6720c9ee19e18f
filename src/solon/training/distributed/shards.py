"""Tensors that may lie in shards (torch's DTensor), and whole ones."""

from __future__ import annotations

from typing import Any

from torch import Tensor


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
