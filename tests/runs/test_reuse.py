"""Runs that reuse the stages of others: which stages, and what becomes of damaged and missing ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.row_types import ExampleRow
from tests.runs.example_runs import example_rows, finish

from solon.config.recipe import Recipe
from solon.errors import RunError
from solon.runs import RunDirectory


def reusing(run: RunDirectory, folder: Path, constitution: Path) -> RunDirectory:
    return RunDirectory.create(folder, Recipe(seed=4), constitution, (run.path,))


def test_a_stage_of_a_reused_run_is_taken_over_when_its_key_is_the_same(
    run: RunDirectory, tmp_path: Path, constitution: Path
) -> None:
    out = run.begin(1, "prompts", {"seed": 1, "critic": None})
    (out.path / "model").mkdir()
    (out.path / "model" / "weights").write_text("w")
    made = out.publish(example_rows(), ExampleRow, facts={"a": None}, files=("model",))
    new = reusing(run, tmp_path / "new", constitution)
    assert new.adopt(1, "prompts", {"seed": 2, "critic": None}) is None
    adopted = new.adopt(1, "prompts", {"seed": 1, "critic": None})
    assert adopted is not None and adopted == new.finished("prompts", {"seed": 1, "critic": None})
    assert (adopted.hash, adopted.rows(ExampleRow), adopted.facts) == (made.hash, made.rows(ExampleRow), made.facts)
    assert (adopted.model / "weights").read_text() == "w"
    assert adopted.manifest.adopted_from == str(run.path)
    assert made.manifest.adopted_from is None
    # The new run stands on its own feet.
    shutil.rmtree(run.path)
    again = RunDirectory.open(tmp_path / "new").finished("prompts")
    assert again is not None and again.rows(ExampleRow) == example_rows()
    again.verify()


def test_a_run_remembers_which_runs_it_reuses_and_refuses_others(
    run: RunDirectory, tmp_path: Path, constitution: Path
) -> None:
    new = reusing(run, tmp_path / "new", constitution)
    assert new.reuses == RunDirectory.open(new.path).reuses == (run.path.resolve(),)
    assert RunDirectory.create(new.path, Recipe(seed=4), constitution).reuses == new.reuses
    assert reusing(run, new.path, constitution) == new
    other = RunDirectory.create(tmp_path / "other", Recipe(seed=5), constitution)
    with pytest.raises(RunError, match=r"the runs to reuse: .*other"):
        RunDirectory.create(new.path, Recipe(seed=4), constitution, (other.path,))
    with pytest.raises(RunError, match="no such run"):
        RunDirectory.create(tmp_path / "third", Recipe(seed=4), constitution, (tmp_path / "none",))


def test_a_damaged_stage_is_not_taken_over(run: RunDirectory, tmp_path: Path, constitution: Path) -> None:
    made = finish(run)
    size = (made.path / "rows.parquet").stat().st_size
    (made.path / "rows.parquet").write_bytes(b"x" * size)
    new = reusing(run, tmp_path / "new", constitution)
    with pytest.raises(RunError, match=r"rows\.parquet: the file has changed since"):
        new.adopt(1, "prompts", {"seed": 1})
    assert new.artefacts() == []


def test_a_stage_begun_here_is_finished_here_and_leftovers_are_swept(
    run: RunDirectory, tmp_path: Path, constitution: Path
) -> None:
    finish(run)
    new = reusing(run, tmp_path / "new", constitution)
    (new.path / ".adopting" / "model").mkdir(parents=True)
    with new.lock():
        assert not (new.path / ".adopting").exists()
        new.begin(1, "prompts", {"seed": 1})
        assert new.adopt(1, "prompts", {"seed": 1}) is None
        shutil.rmtree(new.path / "01-prompts")
        (new.path / ".adopting").mkdir()
        (new.path / ".adopting" / "stray").write_text("left by a kill")
        adopted = new.adopt(1, "prompts", {"seed": 1})
    assert adopted is not None and sorted(path.name for path in adopted.path.iterdir()) == [
        "manifest.json",
        "rows.parquet",
    ]


def test_a_reused_run_that_is_gone_stops_nothing(
    run: RunDirectory, tmp_path: Path, constitution: Path, caplog: pytest.LogCaptureFixture
) -> None:
    finish(run)
    new = reusing(run, tmp_path / "new", constitution)
    with new.answers() as answers:
        assert answers.find(["a"], "s") == {} and not caplog.records, "it was never asked anything"
    shutil.rmtree(run.path)
    assert new.adopt(1, "prompts", {"seed": 1}) is None
    with new.answers() as answers:
        assert answers.find(["a"], "s") == {}
    assert [record.args for record in caplog.records] == [(run.path,)]
