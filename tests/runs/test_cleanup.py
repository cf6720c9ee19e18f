"""A run that was refused before anything was done leaves nothing; one in which anything was done stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.row_types import IdRow
from tests.runs.descriptors import opened_in
from tests.synthetic import Plan, build

from solon.config.builtin import constitution_path
from solon.config.loading import load_recipe
from solon.errors import ModelError, RunError
from solon.runs import Artefact, RunDirectory, StageFolder
from solon.runs.cleanup import locked_run
from solon.runs.response_cache import CachedAnswer, response_cache_in
from solon.runs.standalone_stage import run_standalone


def made(path: Path) -> RunDirectory:
    return RunDirectory.create(path, load_recipe("testbed"), constitution_path("testbed"))


def refuse(run: RunDirectory, *, new: bool = True) -> None:
    with pytest.raises(ModelError, match="refused"), locked_run(run, new=new):
        raise ModelError("refused")


def test_a_new_run_that_is_refused_is_gone(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    run.begin(1, "prompts", {"settings": {}})
    refuse(run)
    assert list(tmp_path.iterdir()) == []


def test_the_corrected_command_may_have_other_settings(tmp_path: Path) -> None:
    refuse(made(tmp_path / "run"))
    corrected = load_recipe("testbed", (), ["seed=3"])
    assert RunDirectory.create(tmp_path / "run", corrected, constitution_path("testbed")).recipe.seed == 3


def test_prompts_that_were_read_do_not_keep_a_run(tmp_path: Path) -> None:
    refuse(build(tmp_path / "run", Plan(red=2, held_out=2, stages=1)))
    assert not (tmp_path / "run").exists()


def test_files_of_somebody_else_stay(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    (run.path / "notes.txt").write_text("mine")
    refuse(run)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_run_with_a_finished_stage_stays(tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=2, held_out=2, stages=2))
    refuse(run)
    assert len(RunDirectory.open(run.path).artefacts()) == 2


def test_a_run_in_which_a_model_answered_stays(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    with run.answers() as answers:
        answers.keep([CachedAnswer("key", ["text"], "responses", "assistant", 1, 1)])
    refuse(run)
    assert RunDirectory.open(run.path).path == run.path


@pytest.mark.parametrize("done", ["checkpoint", "journal"])
def test_a_run_with_a_stage_that_was_begun_stays(done: str, tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=2, held_out=2, stages=1))
    out = run.begin(2, "preference-model", {"settings": {}})
    if done == "checkpoint":
        (out.path / "checkpoints" / "step_004000").mkdir(parents=True)
    else:
        out.map("asked", ["a"], lambda items: [IdRow("a")], row=IdRow, chunk=1)
    refuse(run)
    assert (run.path / "run.json").exists() and out.path.is_dir()


def test_a_begun_stage_without_work_does_not_keep_a_run(tmp_path: Path) -> None:
    run = build(tmp_path / "run", Plan(red=2, held_out=2, stages=1))
    run.begin(2, "preference-model", {"settings": {}})
    refuse(run)
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_there_before_stays(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    refuse(run, new=False)
    assert RunDirectory.open(run.path).recipe == run.recipe


def test_what_is_no_error_of_solon_leaves_the_run_for_a_look(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt), locked_run(run, new=True):
        raise KeyboardInterrupt
    assert (run.path / "run.json").exists()


def test_a_run_that_another_process_holds_is_not_removed(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    with run.lock(), pytest.raises(RunError, match="works on this run"), locked_run(run, new=True):
        pass
    assert (run.path / "run.json").exists()


def test_a_stage_outside_of_a_run_that_is_refused_before_anything_was_done_is_gone(tmp_path: Path) -> None:
    def refused(out: StageFolder) -> Artefact:
        (out.path / "recipe.yaml").write_text("name: x\n")
        raise ModelError("refused")

    with pytest.raises(ModelError):
        run_standalone(tmp_path / "labels", "ai-feedback", {"settings": 1}, refused)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("done", ["answer", "checkpoint", "journal"])
def test_a_stage_outside_of_a_run_in_which_something_was_done_stays(done: str, tmp_path: Path) -> None:
    def refused(out: StageFolder) -> Artefact:
        if done == "answer":
            with response_cache_in(out.path) as answers:
                answers.keep([CachedAnswer("key", ["text"], "ai-feedback", "answer", 1, 1)])
        elif done == "checkpoint":
            (out.path / "checkpoints" / "step-1").mkdir(parents=True)
        else:
            out.map("asked", ["a"], lambda items: [IdRow("a")], row=IdRow, chunk=1)
        raise ModelError("refused")

    with pytest.raises(ModelError):
        run_standalone(tmp_path / "labels", "ai-feedback", {"settings": 1}, refused)
    assert opened_in(tmp_path) == []
    with pytest.raises(RunError, match=r"made with other settings.*or name a new folder"):
        run_standalone(tmp_path / "labels", "ai-feedback", {"settings": 2}, refused)
