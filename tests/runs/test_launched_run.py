"""`solon run` under a launcher: one run made by two processes, and one message when it cannot be."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from tests.pipeline.test_run_stages import SMALL, start, tables
from tests.training.distributed.test_launched import launch, launching

from solon.reporting.results import results
from solon.runs import RunDirectory
from solon.stages.plan import STAGES

WORDS = ["--quiet", "--recipe", "testbed", *(word for setting in SMALL for word in ("--set", setting))]
WRITTEN = STAGES[: STAGES.index("sl-cai")]
"""The stages before the first training: asked of the same models by the same seeds."""


@pytest.mark.slow
def test_two_processes_make_the_run_that_one_makes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    alone = start(one)
    _, errors = alone.communicate(timeout=900)
    assert alone.returncode == 0, errors.decode()
    _, out, _ = launch(2, "solon.cli", "run", str(two), *WORDS)
    assert out.count("Report: ") == 1, "the main process speaks for both"
    expected, found = tables(one), tables(two)
    assert list(found) == list(STAGES)
    assert {name: found[name] for name in WRITTEN} == {name: expected[name] for name in WRITTEN}
    for name in ("04-sl-cai", "07-preference-model", "08-rl-cai"):
        first, other = (RunDirectory.open(folder).finished(name[3:]) for folder in (one, two))
        assert first is not None and other is not None
        assert first.facts["steps" if "steps" in first.facts else "centre"] is not None
    json.dumps(results(RunDirectory.open(two)), allow_nan=False)
    assert (two / "lock").read_bytes() == b"", "nobody works there any more"
    # Another session, by one process, only reads it.
    again = start(two)
    _, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors.decode()
    assert tables(two) == found


@pytest.mark.slow
def test_ctrl_c_stops_both_and_the_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = [*WORDS, "--set", "finetune.training.epochs=40", "--until", "sl-cai"]
    for place in ("02-responses/journal.jsonl", "04-sl-cai/checkpoints"):
        started = launching(2, "solon.cli", "run", str(folder), *words)
        deadline = time.monotonic() + 300
        while started.poll() is None and not at_work(folder / place) and time.monotonic() < deadline:
            time.sleep(0.02)
        started.send_signal(signal.SIGINT)
        _, errors = started.communicate(timeout=120)
        assert started.returncode != 0
        assert errors.count("Stopped. Everything finished is saved. Continue with: solon run") == 1, errors[-4000:]
        assert not (folder / place).parent.joinpath("manifest.json").exists()
        assert (folder / "lock").read_bytes() == b""
    last = max(int(each.name[5:]) for each in (folder / "04-sl-cai" / "checkpoints").iterdir())
    _, _, errors = launch(2, "solon.cli", "run", str(folder), *words)
    done = RunDirectory.open(folder).finished("sl-cai")
    assert done is not None and done.facts["steps"] > last > 0
    code, out, errors = launch(2, "solon.cli", "run", str(folder), "--set", "rl.steps=5", quiet=False)
    assert code != 0 and not out
    told = [line for line in errors.splitlines() if line.startswith("Error: ")]
    assert len(told) == 1 and "rl.steps: 3 -> 5" in told[0], "one process says it"


def at_work(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists() and path.stat().st_size > 0
