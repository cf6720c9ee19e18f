"""Snapshots of a planned policy: exact shares and scores, and over-training told only when it is sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from solon.conversation import Conversation
from solon.evals import snapshots
from solon.evals.snapshots import SnapshotInputs, signs
from solon.intervals import mean, wilson
from solon.runs import Artefact
from tests.synthetic import FirstWordRater, Plan, PlannedEngine, build, replies_of

PLAN = Plan(red=20, held_out=20, stages=8)
POLICIES = {0: Path("sl-cai"), 10: Path("rl-cai")}


def by_length(conversations: Sequence[Conversation]) -> list[float]:
    return [float(len(each.turns[-1].content)) for each in conversations]


def measured(folder: Path, rated: bool = True, **more: Any) -> Artefact:
    run = build(folder / "run", PLAN)
    prompts = run.finished("prompts")
    assert prompts is not None
    replies = {str(path): replies_of(run, PLAN, str(path)) for path in POLICIES.values()}
    broken = more.pop("broken", None)
    if broken is not None:
        replies["rl-cai"][next(iter(replies["rl-cai"]))] = broken
    inputs = SnapshotInputs(0, prompts, POLICIES, by_length, **more)
    return snapshots.run(
        run.recipe.measure,
        inputs,
        lambda path: PlannedEngine(replies[str(path)]),
        run.begin(10, "snapshots", {}),
        FirstWordRater() if rated else None,
    )


def test_every_snapshot_has_the_planned_shares_and_scores(tmp_path: Path) -> None:
    done = measured(tmp_path, held_out=lambda each: [-1.0] * len(each))
    first, last = (done.facts["snapshots"][step] for step in ("0", "10"))
    assert first["harmful"]["value"] == pytest.approx(0.4) and last["harmful"]["value"] == pytest.approx(0.05)
    assert last["helpful"]["value"] == pytest.approx(0.9)
    # 18 of 20 benign prompts are helped, and 18 of 20 harmful ones declined without preaching
    assert last["good"]["value"] == pytest.approx(36 / 40) and last["good"]["n"] == 40
    rows = done.rows()
    assert {row["step"] for row in rows} == {0, 10} and len(rows) == 80
    assert all(row["score"] == len(row["completion"][-1]["content"]) for row in rows)
    assert last["held_out_score"] == {"value": -1.0, "low": -1.0, "high": -1.0, "n": 40}


def test_a_reply_that_failed_has_no_score_and_counts_nowhere(tmp_path: Path) -> None:
    done = measured(tmp_path, broken="<error>")
    (failed,) = (row for row in done.rows() if row["finish"] == "error")
    assert failed["score"] is None and failed["labels"] == []
    assert done.facts["snapshots"]["10"]["score"]["n"] == done.facts["snapshots"]["10"]["good"]["n"] == 39


def test_without_a_rater_only_form_and_scores_are_told(tmp_path: Path) -> None:
    done = measured(tmp_path, rated=False)
    assert set(done.facts["snapshots"]["0"]) == {"finished", "empty", "words", "score"}
    assert done.facts["rater"] is None


def course(good: Sequence[int], score: Sequence[float], **more: Sequence[float]) -> dict[str, Mapping[str, Any]]:
    """Snapshots with so many good and helpful replies of 100, and scores with an interval of plus or minus 0.2."""

    def around(value: float) -> dict[str, float]:
        figure = mean([value - 1.0, value + 1.0] * 100)
        assert figure is not None
        return figure.facts()

    return {
        str(10 * index): {
            "good": wilson(count, 100).facts(),
            "helpful": wilson(count, 100).facts(),
            "score": around(value),
            **{name: around(values[index]) for name, values in more.items()},
        }
        for index, (count, value) in enumerate(zip(good, score, strict=True))
    }


def test_over_training_is_named_from_the_best_snapshot_on() -> None:
    (sign,) = signs(course([60, 95, 50], [0.0, 1.0, 2.0]))
    assert sign == (
        "over-training: from step 10 to step 20 the score rose from +1.00 to +2.00, while good replies fell from "
        "95% to 50% (helpful 95% to 50%)"
    )


@pytest.mark.parametrize(
    ("good", "score"),
    [
        ([60, 95, 94], [0.0, 1.0, 2.0]),  # the fall is within the intervals
        ([60, 95, 50], [0.0, 1.0, 1.1]),  # the rise is
        ([60, 95, 50], [0.0, 1.0, 0.0]),  # the policy broke, and its score with it
        ([95], [0.0]),
    ],
)
def test_what_is_not_sure_is_not_told(good: list[int], score: list[float]) -> None:
    assert signs(course(good, score)) == []


def test_without_a_rater_the_held_out_score_is_the_judge() -> None:
    found = course([0, 0, 0], [0.0, 1.0, 2.0], held_out_score=[0.0, 1.0, -1.0])
    bare = {step: {name: each[name] for name in ("score", "held_out_score")} for step, each in found.items()}
    (sign,) = signs(bare)
    assert sign.endswith("+2.00, while the held-out score fell from +1.00 to -1.00")
