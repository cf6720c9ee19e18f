"""Settings of the tests of run directories, and an empty run."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runs.example_runs import CONSTITUTION

from solon.config.recipe import Recipe
from solon.runs import RunDirectory


@pytest.fixture(autouse=True)
def signals_count() -> Iterator[None]:
    """Hangup and interrupt have their ordinary effect, also where the tests run under `nohup` or in the background."""
    usual = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def constitution(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(CONSTITUTION)
    return path


@pytest.fixture
def run(tmp_path: Path, constitution: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", Recipe(seed=4), constitution)
