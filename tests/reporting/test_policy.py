"""Figures of reinforcement learning: drawn from what there is, left out where there is nothing."""

from __future__ import annotations

import re
from dataclasses import replace

from solon.reporting.policy import policy_figures, score_by_distance, scores_by_snapshot, shares_by_snapshot
from solon.runs.training_rows import RlStepRow

STEPS: dict[str, dict[str, dict[str, float]]] = {
    str(step): {
        "good": {"value": good, "low": good - 0.1, "high": good + 0.1, "n": 64},
        "harmful": {"value": 1 - good, "low": 0.9 - good, "high": 1.1 - good, "n": 32},
        "score": {"value": step / 10, "low": step / 10 - 0.2, "high": step / 10 + 0.2, "n": 64},
    }
    for step, good in ((0, 0.5), (5, 0.9), (20, 0.6))
}
ROWS = [RlStepRow(step=step, score=0.5 * step, kl=step * step - 0.5) for step in range(30)]


def centres(picture: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', picture)]


def test_shares_stand_at_their_steps_with_intervals() -> None:
    picture = str(shares_by_snapshot(STEPS))
    assert picture.count("<polyline") == 2, "harmful and good; what was not measured is not drawn"
    assert picture.count('class="whisker"') == 6
    assert "good at step 5: 90" in picture and "of 64" in picture
    first, second, third = centres(picture)[-3:]  # good is drawn last
    assert (third[0] - second[0]) / (second[0] - first[0]) == 3.0, "steps 0, 5 and 20 are not evenly spaced"
    assert second[1] < third[1] < first[1], "up is more"


def test_scores_without_a_held_out_model_are_one_line() -> None:
    picture = str(scores_by_snapshot(STEPS))
    assert picture.count("<polyline") == 1 and "score at step 20: +2.00 [+1.80 to +2.20] over 64" in picture


def test_distance_is_the_root_of_the_kl_and_never_of_less_than_nothing() -> None:
    picture = str(score_by_distance(ROWS))
    assert picture.count("<circle") == 30 and picture.count("<polyline") == 1
    points = re.search(r'points="([^"]+)"', picture)
    assert points is not None and len(points[1].split()) == 10, "means over stretches of three steps"
    assert "score: +0.00 at 0.00" in picture
    with_held_out = [replace(row, held_out_score=-(row.score or 0)) for row in ROWS]
    assert str(score_by_distance(with_held_out)).count("<polyline") == 2


def test_what_was_not_measured_is_not_drawn() -> None:
    assert list(policy_figures({}, [])) == []
    assert [figure.title for figure in policy_figures({}, ROWS)] == ["Reward against √KL."]
    assert len(list(policy_figures({"snapshots": {"steps": STEPS}}, ROWS))) == 3
    assert shares_by_snapshot({"0": STEPS["0"]}) is None and scores_by_snapshot({}) is None
    assert score_by_distance(ROWS[:1]) is None
    assert score_by_distance([RlStepRow(step=1), RlStepRow(step=2)]) is None
