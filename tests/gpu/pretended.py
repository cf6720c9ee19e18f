"""A pretended GPU, for machines without one: real numbers on the CPU, with the rules of a second device.

Inside `PretendedGpu` a tensor made or moved with `device="cuda"` is marked. It says that it is on `cuda:0`. An
operation on a marked and an unmarked tensor fails as it does on a GPU, unless the unmarked one is a single number or an
index. And what would make the host wait for the GPU is counted. So tensors that are made on the wrong device show, and
waits that nobody expects. What is slow or what a kernel lacks does not: that takes `make test-gpu`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda:0")
ACROSS = {"aten::copy_", "aten::_to_copy", "aten::index.Tensor", "aten::index", "aten::index_put_", "aten::index_put"}
"""Operations that read tensors of the CPU beside those of a GPU: copies, and places given as an index."""
WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::unique_consecutive"}
_DEVICE, _IS_CUDA = Tensor.device.__get__, Tensor.is_cuda.__get__  # type: ignore[attr-defined]


class WrongDevice(RuntimeError):
    """An operation on tensors of two devices."""


class PretendedGpu:
    """Which memory is the GPU's, and how often the host waited for it."""

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        self._held: dict[int, Any] = {}

    def mark(self, tensor: Tensor) -> Tensor:
        """Count the tensor's memory as the GPU's; it is held, so that no other tensor gets its address."""
        storage = tensor.untyped_storage()
        self._held[storage._cdata] = storage
        return tensor

    def holds(self, tensor: Tensor) -> bool:
        """Whether the tensor is on the GPU."""
        return tensor.untyped_storage()._cdata in self._held

    @contextmanager
    def on(self) -> Iterator[PretendedGpu]:
        """Pretend for the length of a block."""
        with _Functions(self), _Operations(self):
            yield self

    def copied(self, tensor: Tensor, *, to_gpu: bool) -> Tensor:
        """A copy on the other device, with gradient."""
        copy = tensor.clone()
        if to_gpu:
            return self.mark(copy)
        self.waits["copy to the CPU"] += 1
        self._held.pop(copy.untyped_storage()._cdata, None)
        return copy


def _is_gpu(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


class _Functions(TorchFunctionMode):
    """Where tensors are made, moved, and asked for their device."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, gpu = dict(kwargs or {}), self.gpu
        if func == _DEVICE:
            return GPU if gpu.holds(args[0]) else func(*args)
        if func == _IS_CUDA:
            return gpu.holds(args[0])
        if func in (Tensor.numpy, Tensor.__array__) and gpu.holds(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if func in (Tensor.cpu, Tensor.cuda, Tensor.to):
            return self._moved(func, args, kwargs)
        if _is_gpu(kwargs.get("device")):
            if func is torch.tensor:
                gpu.waits["blocking copy to the GPU"] += 1
            return tree_map(
                lambda made: gpu.mark(made) if isinstance(made, Tensor) else made,
                func(*args, **{**kwargs, "device": "cpu"}),
            )
        return func(*args, **kwargs)

    def _moved(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
        tensor, rest = args[0], list(args[1:])
        here, there = self.gpu.holds(tensor), None
        if func is Tensor.cpu:
            return self.gpu.copied(tensor, to_gpu=False) if here else tensor
        if func is Tensor.cuda:
            return tensor if here else self.gpu.copied(tensor, to_gpu=True)
        if rest and isinstance(rest[0], Tensor):  # to(other): its type and device
            other = rest.pop(0)
            there, rest = self.gpu.holds(other), [other.dtype, *rest]
        elif rest and isinstance(rest[0], str | torch.device):
            there = _is_gpu(rest.pop(0))
        elif rest and rest[0] is None:
            rest.pop(0)
        if kwargs.get("device") is not None:
            there = _is_gpu(kwargs["device"])
        kwargs.pop("device", None)
        if there and not here and not kwargs.get("non_blocking"):
            self.gpu.waits["blocking copy to the GPU"] += 1
        kwargs.pop("non_blocking", None)
        rest = [each for each in rest if not isinstance(each, bool) and each is not None]
        result: Tensor = func(tensor, *rest, **kwargs) if rest or kwargs else tensor
        if there is None or there == here:
            return result
        return self.gpu.copied(result, to_gpu=there)


class _Operations(TorchDispatchMode):
    """What every operation, of a backward pass too, reads and makes."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        there = [each for each in given if self.gpu.holds(each)]
        name = func.name()
        if there:
            self._check(name, args, given)
            if name.split(".")[0] in WAITS:
                self.gpu.waits[name] += 1
            masks = [each for each in there if each.dtype in (torch.bool, torch.uint8)]
            if name.startswith("aten::index") and masks and any(each is not args[0] for each in masks):
                self.gpu.waits["index by a mask"] += 1
        made = func(*args, **kwargs)
        if there and name != "aten::_local_scalar_dense":
            for each in tree_leaves(made):
                if isinstance(each, Tensor):
                    self.gpu.mark(each)
        return made

    def _check(self, name: str, args: Any, given: list[Tensor]) -> None:
        apart = [each for each in given if not self.gpu.holds(each) and each.dim() > 0]
        own = args[0] if args and isinstance(args[0], Tensor) else given[0]
        if apart and not (name in ACROSS and (self.gpu.holds(own) or name in ("aten::copy_", "aten::_to_copy"))):
            shapes = ", ".join(str(tuple(each.shape)) for each in apart)
            raise WrongDevice(f"{name}: tensors of shape {shapes} are on the CPU, others on the GPU")
