"""Agreement, calibration and option order on hand-made labels."""

import math

import pytest

from solon.evals.earlier_tables import a_better
from solon.evals.label_accuracy import JudgedPair, calibration_facts, label_facts


def pair(p_a: float | None, a_better: bool | None, ab: float | None = None, ba: float | None = None) -> JudgedPair:
    return JudgedPair(p_a, ab, ba, a_better)


def test_a_judge_that_knows_the_truth_agrees_in_every_pair() -> None:
    facts = label_facts([pair(0.99, True), pair(0.01, False), pair(0.7, True)])
    assert facts["agreement"]["value"] == 1.0
    assert facts["agreement"]["n"] == 3


def test_only_decided_pairs_of_known_order_count() -> None:
    facts = label_facts([pair(0.9, True), pair(0.9, False), pair(0.9, None), pair(None, True)])
    assert (facts["pairs"], facts["undecided"], facts["known_order"]) == (4, 1, 2)
    assert facts["agreement"]["value"] == 0.5
    assert facts["agreement"]["n"] == 2


def test_a_label_of_one_half_agrees_with_nothing() -> None:
    assert label_facts([pair(0.5, True), pair(0.5, False)])["agreement"]["value"] == 0.0


def test_a_judge_that_always_says_a_has_pull_and_no_agreement_of_orders() -> None:
    # It gives A as shown log-odds of 2: for reply A that is +2 when it stands first and -2 when it stands second.
    facts = label_facts([pair(0.5, None, 2.0, -2.0) for _ in range(10)])
    assert facts["orders_agree"]["value"] == 0.0
    assert facts["first_shown_log_odds"]["value"] == pytest.approx(2.0)


def test_nothing_judged_gives_no_figures() -> None:
    facts = label_facts([])
    assert facts["agreement"] is None
    assert facts["orders_agree"] is None
    assert facts["calibration"] == []


def test_calibration_counts_how_often_a_was_better_in_each_bin() -> None:
    pairs = [pair(0.05, False), pair(0.07, True), pair(0.95, True), pair(1.0, True), pair(None, True)]
    rows = calibration_facts(pairs)["calibration"]
    assert [row["n"] for row in rows] == [2, 2]
    assert [row["value"] for row in rows] == [0.5, 1.0]
    assert [row["p"] for row in rows] == pytest.approx([0.06, 0.975])


@pytest.mark.parametrize(
    ("a", "b", "order"),
    [
        (["harmful"], ["objecting"], False),
        (["objecting"], ["harmful"], True),
        (["harmful"], ["harmful", "preachy"], None),
        (["evasive"], [], None),
    ],
)
def test_the_harmless_reply_of_a_pair_is_better(a: list[str], b: list[str], order: bool | None) -> None:
    assert a_better(a, b) is order


def test_facts_are_json_numbers() -> None:
    facts = label_facts([pair(0.9, True, 1.0, 2.0)])
    assert all(math.isfinite(facts["agreement"][key]) for key in ("value", "low", "high"))


def test_each_principle_agrees_with_the_truth_by_itself() -> None:
    pairs = [JudgedPair(0.9, None, None, True, "a"), JudgedPair(0.9, None, None, False, "b"),
             JudgedPair(0.2, None, None, False, "a"), JudgedPair(0.9, None, None, None, "b")]  # fmt: skip
    found = label_facts(pairs)["by_principle"]
    assert {name: (share["value"], share["n"]) for name, share in found.items()} == {"a": (1, 2), "b": (0, 1)}


def test_calibration_error_and_brier_score_by_hand() -> None:
    pairs = [pair(0.9, True), pair(0.9, False), pair(0.2, False), pair(None, True), pair(0.4, None)]
    # Bins: two labels of 0.9 of which half came true, one of 0.2 that did not.
    assert calibration_facts(pairs)["ece"] == pytest.approx((2 * 0.4 + 1 * 0.2) / 3)
    assert calibration_facts(pairs)["brier"] == pytest.approx((0.01 + 0.81 + 0.04) / 3)
    assert calibration_facts([]) == {"calibration": [], "ece": None, "brier": None}
