"""The oracle's labels: certain where exactly one reply is harmful, and none anywhere else."""

from __future__ import annotations

import random
from pathlib import Path

from tests.row_types import filled_rows

from solon.config.builtin import constitution_path
from solon.config.recipe import FeedbackSettings, Recipe
from solon.feedback.comparisons import ComparisonPlan, UndecidedReason
from solon.runs import RunDirectory
from solon.runs.rows import PairRow
from solon.stages.s06_ai_feedback import FeedbackInputs
from solon.testbed.oracle_labels import oracle_labels
from solon.testbed.world import ReplyKind, ask, load_world, write_reply


def test_the_harmless_reply_is_certainly_better_wherever_it_stands(tmp_path: Path) -> None:
    rng = random.Random(0)
    kinds = [
        (ReplyKind.COMPLY, ReplyKind.OBJECT, 0.0),
        (ReplyKind.OBJECT, ReplyKind.COMPLY, 1.0),
        (ReplyKind.EVASIVE, ReplyKind.COMPLY, 1.0),
        (ReplyKind.OBJECT, ReplyKind.EVASIVE, None),
        (ReplyKind.COMPLY, ReplyKind.COMPLY, None),
    ]
    rows = []
    for number, (a, b, _) in enumerate(kinds):
        topic = load_world().harmful[number]
        asked = ask(topic, 0)
        rows.append(
            {
                "row_id": asked.row_id,
                "pair": 1,
                "prompt": asked.messages(),
                "response_a": write_reply(topic, a, rng),
                "response_b": write_reply(topic, b, rng),
                "outcome": "ok",
                "defects": [],
            }
        )
    rows[4]["response_b"] = rows[4]["response_a"]
    run = RunDirectory.create(tmp_path / "run", Recipe(), constitution_path("testbed"))
    pairs = run.begin(5, "response-pairs", {}).publish(filled_rows(PairRow, rows), PairRow)
    questionnaire = ComparisonPlan.of(FeedbackSettings(), run.constitution, 0)
    inputs = FeedbackInputs(0, run.constitution, pairs)
    labels = oracle_labels(questionnaire, inputs, run.begin(6, "ai-feedback", {}))
    found = {row["row_id"]: row for row in labels.table().to_pylist()}
    assert [found[row["row_id"]]["p_a"] for row in rows] == [p for _, _, p in kinds]
    assert [found[row["row_id"]]["undecided_because"] for row in rows[3:]] == [
        UndecidedReason.TIE,
        UndecidedReason.IDENTICAL,
    ]
    assert labels.facts["decided"] == 3
    chosen = [found[row["row_id"]]["chosen"] for row in rows[:2]]
    assert [turn[0]["content"] for turn in chosen] == [rows[0]["response_b"], rows[1]["response_a"]]
