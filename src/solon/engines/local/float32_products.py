"""Float32 products of large models by oneDNN, on processors on which torch's default library is slow.

torch multiplies float32 matrices with MKL, which is made for Intel's processors. On others its kernels reach 85 to 130
GFLOP/s where oneDNN's, which torch brings along and takes for bfloat16, reach 145 to 170 (two Zen 4 cores, 64 rows,
2026-11-29). Generation then takes a quarter less time. Small models gain nothing and stay as they are.

The choice follows from the processor's maker and the model's size, and not from a timing: the two libraries round in
other ways, and a run that resumes has to go on with the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from solon.engines.processor import CPUINFO, processor_field
from solon.model_folders.mixed_precision import is_plain

_LARGE = 50_000_000
"""Weights in linear layers from which a model gains."""
_INTEL = "GenuineIntel"
_OPERATOR = "_linear_pointwise"
"""The operator with which torch's compiler calls oneDNN. Its name is torch's own affair, so it may be absent."""


def slow_by_default(processor: Path = CPUINFO) -> bool:
    """Whether torch would take MKL here, on a processor of another maker; never where the system does not tell."""
    mkl, onednn = torch.backends.mkl, torch.backends.mkldnn
    both = mkl.is_available() and onednn.is_available()  # type: ignore[no-untyped-call]
    if not both or not hasattr(torch.ops.mkldnn, _OPERATOR):
        return False
    makers = processor_field("vendor_id", processor)
    return bool(makers) and _INTEL not in makers


def large_layers(model: nn.Module, device: torch.device) -> Sequence[nn.Linear]:
    """The plain float32 layers of a large model on a CPU; none of any other."""
    if device.type != "cpu":
        return ()
    layers = [each for each in model.modules() if is_plain(each) and each.weight.dtype is torch.float32]
    return layers if sum(each.weight.numel() for each in layers) >= _LARGE else ()


@contextmanager
def by_onednn(layers: Sequence[nn.Linear]) -> Iterator[None]:
    """Multiply in these layers with oneDNN for the length of a block in which nothing learns."""
    if torch.is_grad_enabled():
        yield
        return
    for layer in layers:
        # The model still calls the module, so its hooks run.
        layer.forward = partial(_product, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _product(layer: nn.Linear, given: Tensor) -> Tensor:
    operator: Any = getattr(torch.ops.mkldnn, _OPERATOR)
    found: Tensor = operator(given, layer.weight, layer.bias, "none", [], "")
    return found
