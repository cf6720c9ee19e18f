"""All nine stages on the testbed, small and in bfloat16: they finish, with the conclusions of float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from solon.cli.main import cli
from solon.reporting.results import results
from solon.runs import RunDirectory

SMALL = (
    "prompts.limit_red_team=160", "prompts.limit_helpful=160", "revision.steps=2", "judge_check.limit=12",
    "judge_check.weak_judge=accept", "preference.limit_human=320", "rl.steps=14", "rl.prompts_per_step=48",
    "measure.limit=64",
)  # fmt: skip


def ran(folder: Path, *words: str) -> RunDirectory:
    settings = [word for each in SMALL for word in ("--set", each)]
    done = CliRunner().invoke(cli, ["run", str(folder), "--recipe", "testbed", *words, *settings])
    assert done.exit_code == 0, done.output[-3000:]
    return RunDirectory.open(folder)


def conclusions(run: RunDirectory) -> dict[str, bool]:
    """What a reader takes from the run, each by a margin that is beyond the scatter of so few prompts."""
    found = results(run)
    harmful = {name: each["harmful"]["value"] for name, each in found["models"].items()}
    helpful = {name: each["helpful"]["value"] for name, each in found["models"].items()}
    return {
        "nothing is missing": not found["unfinished"],
        "the assistant is harmful": harmful["assistant"] > 0.4,
        "SL-CAI is less harmful": harmful["sl-cai"] < harmful["assistant"] - 0.1,
        "RL-CAI is far less harmful than the assistant": harmful["rl-cai"] < harmful["assistant"] - 0.2,
        "RL-CAI stays helpful": helpful["rl-cai"] > 0.5,
        "the preference model orders unseen pairs of people": found["preference_model"]["accuracy"]["human"] > 0.7,
        "no rule ended the training": "stopped_because" not in found.get("reinforcement", {}),
    }


@pytest.mark.slow
def test_all_stages_in_bfloat16_lead_to_the_conclusions_of_float32(tmp_path: Path) -> None:
    half, exact = ran(tmp_path / "half", "--overlay", "bfloat16"), ran(tmp_path / "exact")
    assert conclusions(half) == conclusions(exact)
    assert all(conclusions(half).values()), conclusions(half)
    by_name: dict[str, Any] = {artefact.name: artefact for artefact in half.artefacts()}
    for name in ("sl-cai", "preference-model", "rl-cai"):
        key = by_name[name].manifest.key
        assert key["settings"].get("training", key["settings"])["precision"] == "bfloat16"
        assert key["engine"]["numbers"] == "bfloat16"
        assert {each.dtype for each in load_file(by_name[name].model / "model.safetensors").values()} == {torch.float32}
    steps = [row for row in by_name["rl-cai"].table().to_pylist() if row["first_ratio_error"] is not None]
    assert steps and max(row["first_ratio_error"] for row in steps) < 1e-2
    assert by_name["rl-cai"].table().to_pylist()[0]["kl_k3"] == 0.0
