"""Models compared on the same prompts: known shares give known differences."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from solon.conversation import Prompt
from solon.engines.scripted import ScriptedEngine
from solon.errors import RunError
from solon.evals.judged_answers import JudgeInputs
from solon.evals.reply_questions import read_reply_questions
from solon.reporting.model_comparison import compare_models
from solon.reporting.side_by_side import two_runs, write_side_by_side
from solon.runs import RunDirectory
from solon.stages import s09_measure
from solon.stages.reply_judging import JUDGE_KEY, QUESTIONS_KEY
from tests.synthetic import PLAIN_QUESTIONS, Plan, PlannedEngine, build, measure_inputs, replies_of


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


def says_yes(prompt: Prompt, option: str) -> float:
    """The log-probability of a letter: yes, whichever letter stands for it."""
    yes = "A" if "(A) Yes" in prompt.turns[-1].content else "B"
    return math.log(0.9 if option == yes else 0.1)


def judged(path: Path, judge: str, **key: str) -> RunDirectory:
    """A run that a judge of this name labelled; `key` is what its key says of the judge."""
    plan = Plan(red=4, held_out=10, stages=8)
    made = build(path, plan)
    s09_measure.run(
        made.recipe.measure.model_copy(update={"grader": "judge"}),
        measure_inputs(made),
        lambda name: PlannedEngine(replies_of(made, plan, name)),
        made.begin(9, "measure", {JUDGE_KEY: "aa", QUESTIONS_KEY: "bb"} | key),
        judge=JudgeInputs(
            lambda: ScriptedEngine(choose=says_yes, name=judge), read_reply_questions(PLAIN_QUESTIONS), 0
        ),
    )
    return made


def test_labels_of_different_graders_are_no_difference_of_models(tmp_path: Path) -> None:
    oracle, judge = build(tmp_path / "one", Plan(red=4, held_out=10)), judged(tmp_path / "two", "z")
    with pytest.raises(RunError) as error:
        compare_models({"A": oracle, "B": judge}, [("A: rl-cai", "B: rl-cai")])
    assert error.value.cause == (
        "the replies of 'A: rl-cai' were judged by the testbed's oracle, and those of 'B: rl-cai' by the judge z with "
        "the questions 'plain': their labels do not compare"
    )
    assert "--set measure.grader=" in error.value.remedy
    assert compare_models({"A": oracle, "B": judge}, [("B: sl-cai", "B: rl-cai")]).differences
    page = two_runs(oracle, judge)
    assert page.differences == () and page.no_differences == f"T{error.value.cause[1:]}."
    assert page.judged_by == ""
    assert write_side_by_side(oracle, judge).read_text(encoding="utf-8").count("their labels do not compare") == 1


def test_labels_of_one_judge_compare_only_with_one_model_and_one_set_of_questions(tmp_path: Path) -> None:
    one, same = judged(tmp_path / "one", "z"), judged(tmp_path / "same", "z")
    pair = [("a: rl-cai", "b: rl-cai")]
    assert compare_models({"a": one, "b": same}, pair).difference("harmful", *pair[0]).value == 0
    assert two_runs(one, same).judged_by == "The replies are judged by the judge z with the questions 'plain'."
    for name, other in (("weights", {JUDGE_KEY: "cc"}), ("questions", {QUESTIONS_KEY: "cc"})):
        with pytest.raises(RunError, match=r"\(model aa, questions bb\).*cc.*do not compare"):
            compare_models({"a": one, "b": judged(tmp_path / name, "z", **other)}, pair)
