"""`results` on a synthetic run, against values that are counted by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from solon.feedback.label_quality import label_quality
from solon.reporting.content import content_of
from solon.reporting.results import results
from solon.reporting.sentences import round_sentences
from solon.runs import RunDirectory
from solon.runs.facts import facts_record
from solon.runs.rows import LabelRow, PairRow
from solon.runs.training_rows import PreferenceStepRow
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


def two_rounds(path: Path) -> RunDirectory:
    """The labels and preference models of two rounds; the second labels every pair the other way round."""
    run = build(path, Plan(red=30, held_out=4, stages=7, rounds=2))
    pairs, labels, learned = (run.finished(name) for name in ("response-pairs", "ai-feedback", "preference-model"))
    assert pairs is not None and labels is not None and learned is not None
    again = [replace(row, pair=row.pair + 1) for row in pairs.rows(PairRow)]
    run.begin(9, "response-pairs-2", {}).publish(again, PairRow, facts={"engine": "the policy"})
    other = [
        replace(row, pair=row.pair + 1, p_a=None if row.p_a is None else 1 - row.p_a) for row in labels.rows(LabelRow)
    ]
    run.begin(10, "ai-feedback-2", {}).publish(other, LabelRow, facts={"undecided_because": {"no reason": 1}})
    facts = {**learned.facts, "accuracy": {"ai": 0.75}, "held_out_decided": {"ai": 8}, "centre": 1.5}
    run.begin(11, "preference-model-2", {}).publish(learned.rows(PreferenceStepRow), PreferenceStepRow, facts=facts)
    return run


def test_figures_of_several_rounds_are_of_all_labels_and_of_the_last_model(tmp_path: Path) -> None:
    run = two_rounds(tmp_path / "run")
    figures = results(run)
    assert figures["preference_model"]["accuracy"] == {"ai": 0.75} and figures["preference_model"]["centre"] == 1.5
    assert figures["labels"]["undecided_because"] == {"both letters are equally probable": 1, "no reason": 1}
    both = [run.finished(name) for name in ("ai-feedback", "ai-feedback-2")]
    rows = [row for labels in both if labels is not None for row in labels.rows(LabelRow)]
    assert len(rows) == 60
    assert figures["label_quality"] == facts_record(label_quality(rows, run.constitution))
    assert figures["label_quality"]["a_wins"]["value"] == 0.5, "each label stands there both ways round"
    sentences = list(round_sentences(figures["rounds"]))
    # Six of eight, by Wilson's interval.
    assert "as they are labelled in 75.0 % [40.9-92.9] of 8 (ai)" in sentences[1]
    assert "[" not in sentences[0], "an earlier run does not say how many pairs its accuracy is over"


def test_the_page_has_the_labels_of_all_rounds(tmp_path: Path) -> None:
    content = content_of(two_rounds(tmp_path / "run"))
    shelf = next(each for each in content.shelves if each.kind == "pair")
    assert shelf.total == len(shelf.samples) == 60
    assert sum(each.draws for each in content.preference_principles) == 60
    for sample in shelf.samples:
        assert sample.trace is not None and sample.number is not None
        later = "-2" if sample.number == 2 else ""
        assert [text.address for text in sample.trace.texts] == [
            f"response-pairs{later}/{sample.row_id}/{sample.number}",
            f"ai-feedback{later}/{sample.row_id}/{sample.number}",
        ]
    assert ("centre, the score that reinforcement learning takes as zero", "+1.50", "") in content.preference
    assert (
        "held-out pairs scored in the labelled order, AI labels",
        "75.0 %",
        "[40.9-92.9] of 8",
    ) in content.preference
    titles = [curve.title for title, curves in content.curves if title == "Supervised training" for curve, _ in curves]
    assert "Preference model" in titles and "Preference model, round 2" in titles
