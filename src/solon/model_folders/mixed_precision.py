"""The arithmetic of models in training: float32 throughout, or with layers in bfloat16.

In bfloat16 the matrix products and the attention of the layers run under torch's autocast (Micikevicius et al. 2018),
and matrices that do not learn are stored in bfloat16. Everything else is float32: weights that learn, embeddings,
norms, the sums between layers, and the head with its logits. A stored bfloat16 matrix is the one that autocast makes of
a float32 matrix, so a frozen layer computes the same numbers as the layer that it is a copy of: policy and reference
start at a KL of 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import Enum
from functools import partial
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

from solon.config.settings import Precision


class Casts(Enum):
    """Whether autocast keeps a weight's bfloat16 copy until its block ends."""

    PASSING = "passing"
    """A weight is cast when it is used: for one pass, which uses it once."""
    KEPT = "kept"
    """A weight is cast once: for many passes without gradient, at 2 bytes for each weight."""


def layers_in(
    precision: Precision, device: torch.device, casts: Casts = Casts.PASSING
) -> AbstractContextManager[object]:
    """A block whose matrix products and attention have this precision."""
    if precision is Precision.FLOAT32:
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=casts is Casts.KEPT)


def lower(model: nn.Module, head: nn.Module | None) -> None:
    """Store the linear layers in bfloat16, and all else, the `head` included, in float32. In place."""
    lowered = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Linear) and module is not head
        for parameter in module.parameters(recurse=False)
    }
    if head is not None:
        lowered -= {id(parameter) for parameter in head.parameters()}  # a head may be tied to embeddings
    for parameter in model.parameters():
        if parameter.is_floating_point():
            wanted = torch.bfloat16 if id(parameter) in lowered else torch.float32
            parameter.data = parameter.data.to(wanted)


def raise_to_float32(model: nn.Module) -> None:
    """Store every weight in float32, which holds each bfloat16 number exactly. In place."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.float()


@contextmanager
def float32_head(head: nn.Module | None) -> Iterator[None]:
    """Make a plain float32 `head` ignore autocast for the length of a block; any other head is left as it is.

    What a model does to its logits afterwards, such as a cap, then runs in float32 too.
    """
    if not is_plain(head) or head.weight.dtype is not torch.float32 or not _autocasting(head):
        yield
        return
    # The model still calls the module, so its hooks run.
    head.forward = partial(_outside_autocast, head)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del head.forward


def is_plain(head: nn.Module | None) -> TypeGuard[nn.Linear]:
    """Whether a head is nothing but the product with its weight."""
    return (
        isinstance(head, nn.Linear)
        and type(head).forward is nn.Linear.forward
        and "forward" not in vars(head)  # accelerate puts one there to move weights in and out
    )


def _autocasting(head: nn.Linear) -> bool:
    return torch.is_autocast_enabled(head.weight.device.type)


def _outside_autocast(head: nn.Linear, hidden: Tensor) -> Tensor:
    with torch.autocast(hidden.device.type, enabled=False):
        return functional.linear(hidden.float(), head.weight, head.bias)
