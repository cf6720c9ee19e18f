"""Labelled pairs as the report shows them: every principle, every judge, and what a label was before it was clamped."""

from __future__ import annotations

from pathlib import Path

from solon.engines.scripted import ScriptedEngine
from solon.reporting.drawn_principles import drawn_for_preference
from solon.reporting.samples import Ratings, pair_shelf
from solon.runs.rows import LabelRow
from tests.stages.test_ai_feedback_settings import by_axis, with_axes, work
from tests.stages.test_s06_ai_feedback import judge


def test_each_axis_and_the_clamp_are_shown(tmp_path: Path) -> None:
    bench = with_axes(tmp_path)
    labels = work(bench, ScriptedEngine(choose=by_axis), axes={"harmlessness": 3, "kindness": 1}, clamp=[0.4, 0.6])
    shelf = pair_shelf([labels], bench.constitution, Ratings())
    assert shelf is not None and shelf.total == 24
    for sample in shelf.samples:
        names = [name for name, _ in sample.facts]
        assert names.count("principle") == 2
        assert {"scripted on harmlessness", "scripted on kindness"} <= set(names)
        assert "before it was clamped" in dict(sample.facts)["label"]
    draws = {each.id: each.draws for each in drawn_for_preference(bench.constitution, labels.rows(LabelRow))}
    assert draws["safer"] == draws["kinder"] + draws["warmer"] == 24


def test_a_single_judgement_is_not_repeated(tmp_path: Path) -> None:
    bench = with_axes(tmp_path)
    shelf = pair_shelf([work(bench, judge(1.0, 0.0))], bench.constitution, Ratings())
    assert shelf is not None
    for sample in shelf.samples:
        assert [name for name, _ in sample.facts].count("judge") == 1
        assert not any(" on " in name for name, _ in sample.facts)
        assert "clamped" not in dict(sample.facts)["label"]
