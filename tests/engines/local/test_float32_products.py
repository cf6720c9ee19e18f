"""Which models multiply with oneDNN, with what numbers, and that nothing of it stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from solon.engines.local import float32_products
from solon.engines.local.float32_products import by_onednn, large_layers, slow_by_default

CPU = torch.device("cpu")
ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise")


def described(folder: Path, maker: str) -> Path:
    file = folder / "cpuinfo"
    file.write_text(f"processor\t: 0\nvendor_id\t: {maker}\nmodel name\t: any\n\n" * 2)
    return file


@pytest.mark.skipif(not ONEDNN or not torch.backends.mkl.is_available(), reason="torch has no MKL or oneDNN here")
@pytest.mark.parametrize(("maker", "slow"), [("AuthenticAMD", True), ("GenuineIntel", False)])
def test_the_maker_of_the_processor_decides(tmp_path: Path, maker: str, slow: bool) -> None:
    assert slow_by_default(described(tmp_path, maker)) is slow


def test_an_unknown_processor_keeps_torch_s_own_products(tmp_path: Path) -> None:
    assert not slow_by_default(tmp_path / "nothing")
    (tmp_path / "cpuinfo").write_text("CPU implementer : 0x41\n")
    assert not slow_by_default(tmp_path / "cpuinfo")


def test_small_models_and_other_types_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 20, bias=False))
    assert large_layers(model, CPU) == ()
    monkeypatch.setattr(float32_products, "_LARGE", 1800)
    assert large_layers(model, CPU) == [model[0], model[1]]
    assert large_layers(model, torch.device("meta")) == ()
    assert large_layers(model.to(torch.bfloat16), CPU) == ()


@pytest.mark.skipif(not ONEDNN, reason="torch has no oneDNN here")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6)])
def test_products_are_those_of_the_layer(bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, given = nn.Linear(6, 5, bias=bias), torch.randn(shape)
    with torch.inference_mode():
        wanted = layer(given)
        with by_onednn([layer]):
            assert "forward" in vars(layer)
            torch.testing.assert_close(layer(given), wanted, rtol=0, atol=1e-6)
    assert "forward" not in vars(layer)


def test_a_layer_that_learns_is_left_alone_and_an_error_leaves_nothing_behind() -> None:
    layer = nn.Linear(6, 5)
    with by_onednn([layer]):
        assert "forward" not in vars(layer)
    with pytest.raises(RuntimeError, match="stop"), torch.no_grad(), by_onednn([layer]):
        raise RuntimeError("stop")
    assert "forward" not in vars(layer)
