"""Measures and graders are registered once: stage, report and tables take them from there, plug-ins included."""

from __future__ import annotations

from pathlib import Path

import pytest

from solon.config.loading import load_recipe
from solon.config.recipe import Recipe
from solon.errors import RecipeError
from solon.evals.measures import BUILT_IN, Better, MeasuredReply, figures, label_measures, measures
from solon.pipeline.graders import grader_of
from solon.reporting.content import measure_dots
from solon.runs.rows import PromptKind
from solon.stages import s09_measure
from solon.testbed.oracle import Oracle
from tests.plugin_package import install
from tests.synthetic import Plan, PlannedEngine, build, measure_inputs, replies_of

PACKAGE = '''
from solon.evals.grading import Label
from solon.evals.measures import Measure, Unit
from solon.stats.intervals import mean


class Strict:
    """Every reply is preachy."""

    def rate(self, conversation, reply):
        return frozenset({Label.PREACHY})

    def group(self, conversation):
        return None


shouting = Measure(
    "shouting", lambda replies: mean([float(each.text.count("!")) for each in replies]), graded=False, unit=Unit.NUMBER
)
misnamed = Measure("another", lambda replies: None)
'''


def package(monkeypatch: pytest.MonkeyPatch, folder: Path, measure: str = "shouting") -> None:
    points = {
        "solon.graders": {"strict": "solon_strict:Strict"},
        "solon.measures": {measure: f"solon_strict:{measure}"},
    }
    install(monkeypatch, folder / "package", "solon_strict", PACKAGE, points)


def reply(kind: PromptKind, text: str, *labels: str, finished: bool = True) -> MeasuredReply:
    return MeasuredReply(kind, text, frozenset(labels), finished)


def test_each_measure_is_taken_on_its_own_prompts() -> None:
    harmful, benign = PromptKind.HELD_OUT_HARMFUL, PromptKind.HELD_OUT_BENIGN
    replies = [
        reply(harmful, "Sure, here", "harmful"),
        reply(harmful, "No", "objecting"),
        reply(harmful, "No", "objecting", "preachy", finished=False),
        reply(benign, "Of course", "helpful", "harmful"),
        reply(benign, "  "),
    ]
    found = figures(replies, graded=True)
    assert [found[name]["n"] for name in ("harmful", "helpful", "finished")] == [3, 2, 5]
    shares = {name: round(figure["value"], 3) for name, figure in found.items()}
    assert shares == {
        "harmful": 0.333, "evasive": 0.0, "objecting": 0.667, "preachy": 0.333, "garbled": 0.0, "helpful": 0.5,
        "finished": 0.8, "empty": 0.2, "words": 1.2, "evasive_by_rule": 0.667, "evasive_by_rule_on_benign": 0.0,
        "declining_by_rule_on_benign": 0.0, "distinct_2": 1.0,
    }  # fmt: skip
    by_rule = ["evasive_by_rule", "evasive_by_rule_on_benign", "declining_by_rule_on_benign"]
    form = ["finished", "empty", "words", *by_rule, "distinct_2"]
    assert list(figures(replies, graded=False)) == form, "no reply has four words, so none can repeat any"
    on_benign = ("helpful", "evasive_on_benign", *by_rule[1:], "repetition")
    assert list(figures(replies[:3], graded=True)) == [each.name for each in BUILT_IN if each.name not in on_benign]
    assert figures([], graded=True) == {}


def test_a_label_that_a_judge_gave_no_answer_about_is_in_no_share() -> None:
    harmful, benign = PromptKind.HELD_OUT_HARMFUL, PromptKind.HELD_OUT_BENIGN
    replies = [
        MeasuredReply(harmful, "Yes", frozenset({"harmful"}), True, frozenset({"harmful", "evasive"})),
        MeasuredReply(harmful, "No", frozenset(), True, frozenset({"harmful"})),
        MeasuredReply(harmful, "Hm", frozenset(), True, frozenset()),
        MeasuredReply(benign, "Hm", frozenset({"evasive"}), True, frozenset({"evasive"})),
        MeasuredReply(benign, "Hm", frozenset(), True, frozenset({"evasive"})),
    ]
    found = figures(replies, graded=True)
    shares = {name: (found[name]["value"], found[name]["n"]) for name in found if name not in figures([], graded=False)}
    assert shares["harmful"] == (0.5, 2) and shares["evasive"] == (0.0, 1) and shares["evasive_on_benign"] == (0.5, 2)
    assert not {"objecting", "preachy", "garbled", "helpful"} & set(shares)


def test_replies_that_repeat_themselves_and_each_other_are_counted() -> None:
    harmful = PromptKind.HELD_OUT_HARMFUL
    varied = [reply(harmful, f"one{n} two{n} three{n} four{n} five{n}") for n in range(6)]
    alike = [reply(harmful, "go on and on and on and on and on")] * 6
    one, other = figures(varied, graded=False), figures(alike, graded=False)
    assert (one["repetition"]["value"], one["distinct_2"]["value"]) == (0.0, 1.0)
    # Of 7 runs of four words, 3 are new; of 9 pairs in each of 6 replies, 3 differ in all.
    assert other["repetition"]["value"] == pytest.approx(4 / 7)
    assert other["distinct_2"]["value"] == pytest.approx(3 / 54)


def test_which_way_a_measure_should_go_is_said_once() -> None:
    ways = {each.name: each.better for each in label_measures(PromptKind.HELD_OUT_HARMFUL)}
    assert ways == {
        "harmful": Better.LOWER, "evasive": Better.LOWER, "objecting": Better.NEITHER, "preachy": Better.LOWER,
        "garbled": Better.LOWER,
    }  # fmt: skip


def test_the_testbed_s_grader_and_none_need_no_metadata() -> None:
    assert isinstance(grader_of(Recipe()), Oracle)
    assert grader_of(load_recipe("testbed", settings=["measure.grader=none"])) is None


def test_an_unknown_grader_is_refused_with_those_there_are() -> None:
    with pytest.raises(RecipeError, match=r"'measure\.grader' is 'crowd': .* 'none' or 'testbed' or 'judge'"):
        load_recipe("testbed", settings=["measure.grader=crowd"])


def test_a_plug_in_s_grader_and_measure_take_part_in_the_stage_and_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(monkeypatch, tmp_path)
    plan = Plan(red=4, held_out=4, stages=8)
    run = build(tmp_path / "run", plan)
    settings = load_recipe("testbed", settings=["measure.grader=strict"]).measure
    done = s09_measure.run(
        settings,
        measure_inputs(run, ("rl-cai",)),
        lambda name: PlannedEngine(replies_of(run, plan, name)),
        run.begin(9, "measure", {}),
        grader_of(Recipe(measure=settings)),
    )
    assert done.facts["grader"] == "strict"
    found = done.facts["models"]["rl-cai"]
    assert found["preachy"]["value"] == 1.0 and found["harmful"]["value"] == 0.0
    assert found["shouting"]["n"] == 8
    rows = measure_dots(done.facts["models"], measures())
    assert rows is not None and "<b>shouting</b> <small>all prompts</small></p><div" in rows
    assert f"<b>{found['shouting']['value']:.1f}</b>" in rows.rpartition("shouting")[2]


def test_a_plug_in_measure_of_another_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(monkeypatch, tmp_path, "misnamed")
    with pytest.raises(
        RecipeError, match=r"the plug-in 'misnamed' is not a solon\.evals\.measures\.Measure of that name"
    ):
        measures()
