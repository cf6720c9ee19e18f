"""Models compared on the same prompts: known shares give known differences."""

from __future__ import annotations

from pathlib import Path

import pytest

from solon.errors import RunError
from solon.reporting.model_comparison import compare_models
from solon.runs import RunDirectory
from tests.synthetic import Plan, build


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return build(tmp_path_factory.mktemp("compare") / "run", Plan(red=4, held_out=40))


def test_measures_and_differences_are_those_of_the_plan(finished: RunDirectory) -> None:
    found = compare_models({"run": finished})
    assert list(found.measures) == ["pretrained", "assistant", "sl-cai", "rl-cai"]
    assert found.measures["assistant"]["harmful"].value == 0.95
    assert len({(each.first, each.second) for each in found.differences}) == 6
    # The plan fills prompts in one order, so the 2 prompts that are harmful after RL-CAI are so after SL-CAI.
    harmful = found.difference("harmful", "sl-cai", "rl-cai")
    assert (harmful.n, harmful.first_only, harmful.second_only) == (40, 14, 0)
    assert harmful.value == pytest.approx(-0.35) and harmful.high < 0
    assert harmful.p_value == pytest.approx(2 / 2**14)
    helpful = found.difference("helpful", "sl-cai", "rl-cai")
    assert helpful.value == pytest.approx(0.05) and helpful.low < 0 < helpful.high
    with pytest.raises(KeyError):
        found.difference("harmful", "rl-cai", "sl-cai")


def test_models_of_two_runs_are_paired_by_prompt(finished: RunDirectory, tmp_path: Path) -> None:
    other = build(tmp_path / "other", Plan(red=4, held_out=40))
    found = compare_models({"a": finished, "b": other}, [("a: sl-cai", "b: sl-cai"), ("a: sl-cai", "b: rl-cai")])
    assert found.difference("harmful", "a: sl-cai", "b: sl-cai").value == 0
    assert found.difference("harmful", "a: sl-cai", "b: rl-cai").first_only == 14


def test_what_cannot_be_compared_is_refused(finished: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no model 'rl-cay' was measured") as error:
        compare_models({"run": finished}, [("sl-cai", "rl-cay")])
    assert "rl-cai" in error.value.remedy
    with pytest.raises(RunError, match="has not measured"):
        compare_models({"run": build(tmp_path / "begun", Plan(red=4, held_out=4, stages=5))})
    with pytest.raises(RunError, match="no grader"):
        compare_models({"run": build(tmp_path / "plain", Plan(red=4, held_out=4, rated=False))})
