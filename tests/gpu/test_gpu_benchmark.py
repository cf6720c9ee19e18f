"""The benchmark for GPUs on a tiny model on the CPU: every figure is measured and written."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from solon.config.recipe import Precision
from tests.gpu.pretended import GPU, PretendedGpu

ROOT = Path(__file__).parents[2]


def ran(out: Path, *words: str) -> tuple[str, dict[str, Any]]:
    """What the benchmark prints and writes."""
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--shape", "tiny", "--out", str(out), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=out.parent)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, json.loads(out.read_text())


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_every_figure_is_measured(tmp_path: Path, dtype: str) -> None:
    printed, written = ran(tmp_path / "figures.json", "--dtype", dtype)
    assert written["dtype"] == dtype and written["date"] and written["card"] and written["skipped"] == []
    names = [figure["name"] for figure in written["figures"]]
    kinds = ("products", "generation, Solon", "generation, transformers", "letters", "SFT", "PPO", "LoRA")
    assert all(any(name.startswith(kind) for name in names) for kind in kinds)
    assert all(0 < figure["low"] <= figure["median"] <= figure["high"] for figure in written["figures"])
    assert all(figure["name"] in printed for figure in written["figures"])


def test_what_begins_too_late_is_skipped_and_named(tmp_path: Path) -> None:
    printed, written = ran(tmp_path / "figures.json", "--seconds", "0")
    assert written["figures"] == [] and len(written["skipped"]) >= 6 and "skipped: tiny: " in printed


def test_on_a_gpu_every_tensor_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a pretended one, in float32: it does not cast."""
    spec = importlib.util.spec_from_file_location("gpu_benchmark", ROOT / "benchmarks" / "gpu.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_benchmark", module)
    spec.loader.exec_module(module)
    for name, given in (
        ("is_available", True), ("synchronize", None), ("reset_peak_memory_stats", None), ("empty_cache", None),
        ("max_memory_allocated", 1 << 30), ("get_device_name", "NVIDIA H200"), ("mem_get_info", (1 << 30, 1 << 31)),
        ("memory_reserved", 0), ("memory_allocated", 0), ("manual_seed_all", None),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda *_, given=given: given)
    monkeypatch.setattr(module, "ROUNDS", 1)
    monkeypatch.setattr(module, "PRODUCT", 64)
    with PretendedGpu().on():
        bench = module.Bench(GPU, Precision.FLOAT32, float("inf"))
        module.run_all(bench, [module.SHAPES["tiny"]])
    assert len(bench.figures) == 8 and bench.skipped == []
    steps = [figure for figure in bench.figures if "step, activations" in figure.name]
    assert len(steps) == 3 and all(0 < figure.more["mfu"] < figure.more["of products"] for figure in steps)
