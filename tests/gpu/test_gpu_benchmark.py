"""The benchmark for GPUs on a tiny model on the CPU: every figure is measured and written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
