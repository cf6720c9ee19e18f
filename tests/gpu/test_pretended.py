"""The pretended GPU refuses what a GPU refuses; only then do the tests that use it say anything."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.gpu.pretended import GPU, PretendedGpu, WrongDevice


def test_tensors_of_two_devices_are_refused() -> None:
    with PretendedGpu().on():
        there, here = torch.ones(3, device="cuda"), torch.ones(3)
        assert there.device == GPU and there.is_cuda and here.device.type == "cpu"
        with pytest.raises(WrongDevice, match="aten::add"):
            there + here
        with pytest.raises(WrongDevice, match="aten::index"):
            here[torch.tensor([0], device="cuda")]
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert (there + 1.0 + torch.tensor(2.0) + here.to(GPU)).device == GPU
        assert there[torch.tensor([0, 1])].device == GPU and there.cpu().device.type == "cpu"
        assert there.to(here).device.type == "cpu" and here.to(there).device == GPU


def test_modules_and_gradients_stay_where_they_are() -> None:
    with PretendedGpu().on():
        layer = nn.Linear(4, 2).to("cuda")
        assert layer.weight.device == GPU
        with pytest.raises(WrongDevice):
            layer(torch.ones(1, 4))
        loss = layer(torch.ones(1, 4, device="cuda")).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        assert layer.weight.grad is not None and layer.weight.grad.device == GPU
        optimiser = torch.optim.AdamW(layer.parameters(), fused=True)
        optimiser.step()
        assert all(each.device == GPU for state in optimiser.state.values() for each in state.values())


def test_waits_are_counted() -> None:
    gpu = PretendedGpu()
    with gpu.on():
        there = torch.ones(3, device="cuda")
        float(there.sum())
        there[there > 0]
        there.nonzero()
        there.cpu()
        float(torch.ones(3).sum())
    assert gpu.waits["aten::_local_scalar_dense"] == 1 and gpu.waits["copy to the CPU"] == 1
    assert gpu.waits["index by a mask"] >= 1 and gpu.waits["aten::nonzero"] >= 1
