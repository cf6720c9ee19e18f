"""Gradient checkpointing: a backward pass computes the activations of each layer again (Chen et al. 2016).

Only the inputs of the layers are kept. Layers are wrapped one by one, because transformers' own switch works in
training mode only, which would turn dropout on. The second pass has the arithmetic of the first, and where one backbone
has several adapters, the adapter of the first.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from solon.config.settings import Activations
from solon.errors import ModelError

Again = Callable[[], AbstractContextManager[Any]]
"""Called in the first pass; its block is that of the second pass."""


def checkpoint_activations(model: nn.Module, activations: Activations, again: Again = nullcontext) -> None:
    """Have the model's layers keep only their inputs where `activations` says so, in place, for passes with gradient.

    Raises ModelError for a model whose layers are unknown.
    """
    if activations is Activations.KEPT:
        return
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ModelError(
            f"the layers of a {type(model).__name__} are unknown, so activations cannot be recomputed",
            place="activations",
            remedy="Leave it at activations=kept, and halve micro_batch_tokens",
        )
    for layer in layers:
        layer.forward = _Recomputed(layer, again)


class _Recomputed:
    """A layer's forward pass that runs a second time in the backward pass."""

    def __init__(self, layer: nn.Module, again: Again) -> None:
        self._layer = weakref.ref(layer)  # a circle would keep a dropped model in a GPU's memory
        self._again = again

    def _forward(self, *given: Any, **named: Any) -> Any:
        layer = self._layer()
        assert layer is not None
        return type(layer).forward(layer, *given, **named)

    def __call__(self, *given: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            return self._forward(*given, **named)
        second = self._again()
        return checkpoint(
            self._forward,
            *given,
            use_reentrant=False,
            preserve_rng_state=False,  # nothing draws: dropout is off
            context_fn=lambda: (nullcontext(), second),
            **named,
        )
