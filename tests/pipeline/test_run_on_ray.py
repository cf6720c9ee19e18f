"""The data stages of the testbed's recipe on a real local Ray: the rows of this process, whatever happens to actors."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.pipeline.test_run_stages import SMALL

from solon.runs import RunDirectory

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
LAST = "ai-feedback"
ON_RAY = ("--on", "ray", "--actors", "2")


def start(folder: Path, *options: str, first: Sequence[str] = SMALL) -> subprocess.Popen[str]:
    """`solon run` in a session of its own, as a terminal starts it; Ray writes its token into the folder beside it."""
    words = [sys.executable, "-m", "solon.cli", "run", str(folder), "--until", LAST, *options]
    if not (folder / "run.json").exists():
        words += ["--recipe", "testbed", *(word for setting in first for word in ("--set", setting))]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "RAY_AUTH_TOKEN": "0" * 64},
    )


def tables(folder: Path) -> Mapping[str, str]:
    return {artefact.name: artefact.hash for artefact in RunDirectory.open(folder).artefacts()}


def processes_of(session: int) -> list[int]:
    """The processes of a session that are still there."""
    found = subprocess.run(["ps", "-o", "pid=", "-s", str(session)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def actors_of(session: int) -> list[int]:
    """The processes of a session that are actors of Ray."""
    found = subprocess.run(["ps", "-o", "pid=,args=", "-s", str(session)], capture_output=True, text=True, check=False)
    return [int(line.split()[0]) for line in found.stdout.splitlines() if "ray::EngineHost" in line]


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a stage has something in its journal."""
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline and not (file.exists() and file.stat().st_size):
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What the stages make in one process."""
    folder = tmp_path_factory.mktemp("here") / "run"
    process = start(folder, "--quiet")
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return tables(folder)


def test_two_actors_give_the_same_rows_and_a_killed_one_costs_none(here: Mapping[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder, *ON_RAY)
    wait_for(folder / "03-critique-revision" / "journal.jsonl", process)
    os.kill(actors_of(process.pid)[0], signal.SIGKILL)
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert tables(folder) == here
    assert "Ray: 2 actors with 1 CPU each, on a cluster of 1 node." in output + errors
    # Only Solon's own words about Ray: nothing of raylets, workers or dashboards.
    assert re.findall(r".*(?:raylet|Worker|dashboard|Traceback|WARNING).*", output + errors) == []
    assert processes_of(process.pid) == []


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_ends_cleanly_and_resumes(here: Mapping[str, str], tmp_path: Path, stop: signal.Signals) -> None:
    folder = tmp_path / "run"
    process = start(folder, *ON_RAY)
    wait_for(folder / "03-critique-revision" / "journal.jsonl", process)
    if stop is signal.SIGINT:
        os.killpg(process.pid, stop)  # a terminal sends it to all processes of the command, Ray's too
    else:
        process.send_signal(stop)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Continue with: solon run" in errors and "Traceback" not in errors
    assert processes_of(process.pid) == []
    assert tables(folder).keys() < here.keys()
    resumed = start(folder, *ON_RAY, "--quiet")
    _, errors = resumed.communicate(timeout=600)
    assert resumed.returncode == 0, errors
    assert tables(folder) == here
