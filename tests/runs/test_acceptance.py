"""Decisions about a run that change no row of it: accepting a weak judge."""

from pathlib import Path

import pytest

from solon.config.builtin import constitution_path
from solon.config.loading import load_recipe
from solon.config.recipe import WeakJudge
from solon.errors import RunError
from solon.runs import RunDirectory

CONSTITUTION = constitution_path("testbed")
ACCEPTING = load_recipe("testbed", settings=["seed=4", "judge_check.weak_judge=accept"])


def test_accepting_a_weak_judge_is_no_other_setting_and_is_remembered(tmp_path: Path) -> None:
    strict = load_recipe("testbed", settings=["seed=4"])
    run = RunDirectory.create(tmp_path / "run", strict, CONSTITUTION)
    accepting = RunDirectory.create(run.path, ACCEPTING, CONSTITUTION)
    assert accepting.recipe.judge_check.weak_judge is WeakJudge.ACCEPT
    assert RunDirectory.open(run.path).recipe == strict, "nothing is written before the run is at work"
    with accepting.lock():
        pass
    assert RunDirectory.open(run.path).recipe == ACCEPTING
    # The command that started the run goes on with it, and takes nothing back.
    assert RunDirectory.create(run.path, strict, CONSTITUTION).recipe == ACCEPTING


def test_another_recipe_is_refused_in_one_short_line(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", load_recipe("testbed"), CONSTITUTION)
    with pytest.raises(RunError, match=r"; and \d+ more\)\. Put the old values back") as error:
        RunDirectory.create(run.path, load_recipe("own", settings=["model=testbed:assistant"]), CONSTITUTION)
    assert str(error.value).count("->") == 8


def test_what_comes_with_the_acceptance_is_still_refused(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", load_recipe("testbed"), CONSTITUTION)
    other = load_recipe("testbed", settings=["judge_check.weak_judge=accept", "rl.kl_coef=0.7"])
    with pytest.raises(RunError, match=r"made with other settings \(rl\.kl_coef: 0\.2 -> 0\.7\)"):
        RunDirectory.create(run.path, other, CONSTITUTION)
