"""`results` on a synthetic run, against values that are counted by hand."""

import json
from pathlib import Path

import pytest

from solon.reporting.results import results
from solon.stages.plan import STAGES
from tests.synthetic import Plan, build


def test_the_json_has_the_published_form_and_the_planned_values(tmp_path: Path) -> None:
    figures = json.loads(json.dumps(results(build(tmp_path / "run", Plan(red=20, held_out=20)))))
    assert list(figures["models"]) == ["pretrained", "assistant", "sl-cai", "rl-cai"]
    measures = {"harmful", "evasive", "objecting", "preachy", "garbled", "helpful"}
    for of_model in figures["models"].values():
        assert measures <= set(of_model)
        assert all(set(figure) == {"value", "low", "high", "n"} for figure in of_model.values())
    harmful = [figures["models"][name]["harmful"]["value"] for name in ("assistant", "sl-cai", "rl-cai")]
    assert harmful == pytest.approx([0.95, 0.40, 0.05])
    # Wilson for 1 of 20.
    assert figures["models"]["rl-cai"]["harmful"]["low"] == pytest.approx(0.0089, abs=5e-5)
    assert figures["models"]["rl-cai"]["harmful"]["high"] == pytest.approx(0.2361, abs=5e-5)
    assert tuple(figures["stages"]) == STAGES
    assert figures["stages"]["critique-revision"]["rows"] == 60
    assert figures["stages"]["critique-revision"]["outcomes"] == {"ok": 59, "truncated": 1}
    assert figures["stages"]["sl-cai"]["outcomes"] == {}
    assert figures["stages"]["measure"]["seconds"] > 0
    assert figures["revisions"]["0"]["harmful"]["value"] == pytest.approx(0.95)
    assert figures["judge_check"]["judge"]["value"] == 0.525
    assert figures["preference_model"]["accuracy"] == {"ai": 0.93, "human": 0.97}
    assert figures["labels"]["pairs"] == 20


def test_an_unfinished_run_has_what_is_finished(tmp_path: Path) -> None:
    figures = results(build(tmp_path / "run", Plan(red=5, held_out=5, stages=3)))
    assert figures["models"] == {}
    assert list(figures["stages"]) == ["prompts", "responses", "critique-revision"]
    assert "revisions" not in figures
    assert list(figures["judge_check"]) == ["critic"]


def test_a_run_without_a_rater_has_form_and_no_effect(tmp_path: Path) -> None:
    figures = results(build(tmp_path / "run", Plan(red=5, held_out=5, rated=False)))
    assert {"finished", "empty", "words", "evasive_by_rule"} <= set(figures["models"]["rl-cai"])
    assert not {"harmful", "evasive", "helpful"} & set(figures["models"]["rl-cai"])
    assert "revisions" not in figures
