"""A run killed by SIGKILL at any durable operation, and again while it resumes, gives the same bytes (P1, P2, P3)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HARNESS = Path(__file__).with_name("kill_harness.py")
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
"""The harness is a program, and imports row types of the tests."""
FILES = [
    "01-first/begun.json",
    "01-first/manifest.json",
    "01-first/rows.parquet",
    "02-second/begun.json",
    "02-second/manifest.json",
    "02-second/model/weights.json",
    "02-second/rows.parquet",
    "constitution.yaml",
    "recipe.yaml",
    "run.json",
    "session.json",
]


def sweep(folder: Path, first: int, last: int, step: int, depth: int) -> list[dict[str, Any]]:
    command = [sys.executable, str(HARNESS), str(folder), *map(str, (first, last, step, depth))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


def check(results: list[dict[str, Any]], whole: dict[str, Any], again: int) -> None:
    for result in results:
        assert result["hash"] == whole["hash"], f"other bytes after a kill at point {result['point']}"
        assert result["files"] == FILES
        assert set(result["asked"]) == set(whole["asked"])
        # Only the chunk in flight (at most 4 items) may be asked again, once for every kill.
        more = [count - 1 for count in result["asked"].values() if count > 1]
        assert len(more) <= 4 * again and max(more, default=0) <= result["kills"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an uninterrupted run gives."""
    (result,) = sweep(tmp_path_factory.mktemp("whole"), 10_000, 10_001, 1, 1)
    assert result["kills"] == 0 and set(result["asked"].values()) == {1} and len(result["asked"]) == 13
    return result


def test_killed_at_some_points(tmp_path: Path, whole: dict[str, Any]) -> None:
    results = sweep(tmp_path, 3, 64, 6, 1)
    assert sum(result["kills"] for result in results) >= 9
    check(results, whole, 1)


def test_killed_while_resuming(tmp_path: Path, whole: dict[str, Any]) -> None:
    results = sweep(tmp_path, 20, 50, 9, 3)
    assert max(result["kills"] for result in results) == 3
    check(results, whole, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("step", "depth"), [(1, 1), (2, 2), (5, 4)])
def test_killed_at_every_point(tmp_path: Path, whole: dict[str, Any], step: int, depth: int) -> None:
    results = sweep(tmp_path, 1, 200, step, depth)
    assert results[-1]["kills"] == 0, "the sweep ends where a run outlives its point"
    assert len(results) > 50 // step
    check(results, whole, depth)
