"""`solon run` under a launcher: one run made by two processes, and one message when it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from solon.evals.results import STAGES, results
from solon.runs import RunDirectory
from tests.test_pipeline import SMALL, start, tables
from tests.training.test_processes import launch

WORDS = ["--quiet", "--recipe", "testbed", *(word for setting in SMALL for word in ("--set", setting))]
WRITTEN = STAGES[: STAGES.index("sl-cai")]
"""The stages before the first training: asked of the same models by the same seeds."""


@pytest.mark.slow
def test_two_processes_make_the_run_that_one_makes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    alone = start(one)
    _, errors = alone.communicate(timeout=900)
    assert alone.returncode == 0, errors.decode()
    done = launch(2, "solon.cli", "run", str(two), *WORDS)
    assert done.stdout.count("Report: ") == 1, "the main process speaks for both"
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
