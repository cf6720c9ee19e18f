"""Snapshots of a planned policy: exact shares and scores, and over-training told only when it is sure."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.row_types import filled
from tests.synthetic import FirstWordRater, Plan, PlannedEngine, build, replies_of

from solon.conversation import Conversation
from solon.evals.measures import measures
from solon.evals.over_training import signs
from solon.runs import Artefact
from solon.runs.evaluation_rows import SnapshotRow
from solon.stages import extra_snapshots
from solon.stages.extra_snapshots import SnapshotInputs

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
    inputs = SnapshotInputs(0, prompts, POLICIES, lambda: by_length, **more)
    return extra_snapshots.run(
        run.recipe.measure,
        inputs,
        lambda path: PlannedEngine(replies[str(path)]),
        run.begin(10, "snapshots", {}),
        FirstWordRater() if rated else None,
    )


def test_every_snapshot_has_the_planned_shares_and_scores(tmp_path: Path) -> None:
    done = measured(tmp_path, held_out=lambda: lambda each: [-1.0] * len(each))
    first, last = (done.facts["snapshots"][step] for step in ("0", "10"))
    assert first["harmful"]["value"] == pytest.approx(0.4) and last["harmful"]["value"] == pytest.approx(0.05)
    assert last["helpful"]["value"] == pytest.approx(0.9)
    # 18 of 20 benign prompts are helped, and 18 of 20 harmful ones declined without preaching
    assert last["good"]["value"] == pytest.approx(36 / 40) and last["good"]["n"] == 40
    rows = done.table().to_pylist()
    assert {row["step"] for row in rows} == {0, 10} and len(rows) == 80
    assert all(row["score"] == len(row["completion"][-1]["content"]) for row in rows)
    assert last["held_out_score"] == {"value": -1.0, "low": -1.0, "high": -1.0, "n": 40}


def test_a_reply_that_failed_has_no_score_and_counts_nowhere(tmp_path: Path) -> None:
    done = measured(tmp_path, broken="<error>")
    (failed,) = (row for row in done.table().to_pylist() if row["finish"] == "error")
    assert failed["score"] is None and failed["labels"] == []
    assert done.facts["snapshots"]["10"]["score"]["n"] == done.facts["snapshots"]["10"]["good"]["n"] == 39


def test_without_a_rater_only_form_and_scores_are_told(tmp_path: Path) -> None:
    done = measured(tmp_path, rated=False)
    form = {measure.name for measure in measures() if not measure.graded}
    assert set(done.facts["snapshots"]["0"]) == {*form, "score"}
    assert done.facts["grader"] is None


def test_what_scores_is_loaded_when_all_have_replied_and_one_is_dropped_before_the_next(tmp_path: Path) -> None:
    run = build(tmp_path / "run", PLAN)
    prompts, loaded, alive = run.finished("prompts"), list[str](), list[bool]()
    assert prompts is not None
    first: list[weakref.ref[Scoring]] = []

    class Scoring:
        def __call__(self, conversations: Sequence[Conversation]) -> list[float]:
            return by_length(conversations)

    def engine(path: Path) -> PlannedEngine:
        loaded.append(str(path))
        return PlannedEngine(replies_of(run, PLAN, str(path)))

    def load(name: str) -> Scoring:
        loaded.append(name)
        gc.collect()
        alive.extend(each() is not None for each in first)
        scoring = Scoring()
        first.append(weakref.ref(scoring))
        return scoring

    inputs = SnapshotInputs(0, prompts, POLICIES, lambda: load("own"), lambda: load("held-out"))
    extra_snapshots.run(run.recipe.measure, inputs, engine, run.begin(10, "snapshots", {}))
    assert loaded == ["sl-cai", "rl-cai", "own", "held-out"] and alive == [False]


def course(
    good: Sequence[int], score: Sequence[float], held_out: Sequence[float] | None = None, spread: float = 0.2
) -> list[SnapshotRow]:
    """Snapshots with so many helpful replies to 100 benign prompts, and scores that vary by prompt and by snapshot."""
    return [
        filled(
            SnapshotRow,
            {
                "step": 10 * index,
                "row_id": str(prompt),
                "kind": "held_out_benign",
                "labels": ["helpful"] if prompt < count else ["garbled"],
                "score": value + prompt / 10 + spread * (-1) ** _turns(prompt)[index],
                "held_out_score": None if held_out is None else held_out[index] + 0.1 * (-1) ** _turns(prompt)[index],
            },
        )
        for index, (count, value) in enumerate(zip(good, score, strict=True))
        for prompt in range(100)
    ]


def _turns(prompt: int) -> tuple[int, int, int]:
    """Which way the score of a prompt strays in each snapshot: no two of them alike, and none on balance."""
    return prompt % 2, prompt // 2 % 2, (prompt ^ prompt // 2) % 2


def test_over_training_is_named_against_the_best_snapshot_before() -> None:
    (sign,) = signs(course([60, 95, 50], [0.0, 1.0, 2.0]), rated=True)
    assert sign == (
        "over-training: from step 10 to step 20 the score rose from +5.95 to +6.95, while good replies fell from "
        "95.0 % to 50.0 % (helpful 95.0 % to 50.0 %)"
    )


def test_a_better_snapshot_that_scored_as_high_is_passed_over() -> None:
    (sign,) = signs(course([70, 95, 50], [0.0, 2.0, 2.0]), rated=True)
    assert sign.startswith("over-training: from step 0 to step 20") and "70.0 % to 50.0 %" in sign


@pytest.mark.parametrize(
    ("good", "score", "spread"),
    [
        ([60, 95, 94], [0.0, 1.0, 2.0], 0.2),  # one prompt of a hundred is no fall
        ([95, 95, 50], [1.0, 1.0, 1.1], 2.0),  # nor is a rise within the spread a rise
        ([95, 95, 50], [0.0, 1.0, -1.0], 0.2),  # the policy broke, and its score with it
        ([95], [0.0], 0.2),
    ],
)
def test_what_is_not_sure_is_not_told(good: list[int], score: list[float], spread: float) -> None:
    assert signs(course(good, score, spread=spread), rated=True) == []


def test_the_held_out_score_is_a_judge_of_its_own() -> None:
    rows = course([90, 90, 90], [0.0, 1.0, 2.0], held_out=[0.0, 1.0, -1.0])
    (sign,) = signs(rows, rated=False)
    assert sign.endswith("+6.95, while the held-out score fell from +1.00 to -1.00")
    assert signs(rows, rated=True) == [sign], "good replies did not fall"
