"""TRL's own trainer reads the exported folder: it trains on the exported prompts by the exported reward."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.export.trainers.made import finished, without_solon

from solon.export.trainers.trainer_folder import export_for_trl

pytest.importorskip("trl", reason="TRL is not installed")
pytest.importorskip("datasets", reason="TRL is not installed")


@pytest.mark.slow
def test_trl_trains_one_step_from_the_folder(tmp_path: Path) -> None:
    run = finished(tmp_path / "made")
    folder = export_for_trl(run, tmp_path / "out").folder
    flags = "--use_cpu true --bf16 false --gradient_checkpointing false --max_steps 1 --learning_rate 0.01"
    done = without_solon(folder, "./launch.sh", *flags.split(), GPUS="0")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    before = load_file(folder / "policy" / "model.safetensors")
    after = load_file(folder / "trained" / "model.safetensors")
    assert any(not torch.equal(before[name], after[name]) for name in before)
    state = json.loads((folder / "trained" / "checkpoint-1" / "trainer_state.json").read_text())
    logged = state["log_history"][0]
    assert -10 <= logged["reward"] <= 10 and logged["rewards/reward/mean"] == pytest.approx(logged["reward"], abs=1e-4)
    assert logged["kl"] == pytest.approx(0.0, abs=1e-4), "the reference is the policy's own start"
