"""Planted judges: what is measured of them is what was planted."""

import json
import math

import pytest

from solon.config.recipe import FeedbackForm, FeedbackSettings, OptionOrder, WeakJudge
from solon.constitution.constitution import PreferencePrinciple
from solon.conversation import Conversation, Prompt, Role, Turn
from solon.digest import digest, uniform_for
from solon.engines.base import Completion, Finish
from solon.engines.scripted import ScriptedEngine
from solon.errors import StageError
from solon.evals.judge_check import (
    JudgeQuestions,
    PlainComparison,
    check_judge,
    plain_comparisons,
    plain_questions,
    read_judge_check,
    verdict,
)
from tests.evals.judge_check.planted import BETTER, CONSTITUTION, NOT_TOLD, judge, options

QUESTIONS = plain_questions(CONSTITUTION)
SINGLE_PROCESS = JudgeQuestions(QUESTIONS.comparisons, (), (), (), QUESTIONS.what)
"""The comparisons without probes."""


@pytest.mark.parametrize("order", OptionOrder)
@pytest.mark.parametrize("few_shot", [0, 3])
def test_an_oracle_is_always_right(order: OptionOrder, few_shot: int) -> None:
    settings = FeedbackSettings(order=order, few_shot=few_shot)
    found = read_judge_check(judge(2, 0.5), settings, CONSTITUTION, 0)
    assert (found.accuracy.value, found.accuracy.n) == (1, len(QUESTIONS.comparisons))
    assert found.accuracy.low > 0.95
    assert found.undecided.value == 0
    assert {part.value for part in (*found.by_kind.values(), *found.by_principle.values())} == {1}
    assert set(found.by_principle) == {principle.id for principle in CONSTITUTION.preference}
    assert found.letter_prior is not None
    assert found.letter_prior.log_odds.value == pytest.approx(0.5)
    assert not found.is_weak
    if order is OptionOrder.BOTH:
        assert found.orders_agree is not None and found.position_bias is not None
        assert found.orders_agree.value == 1
        assert found.position_bias.value == pytest.approx(0.5)


def test_a_judge_whose_letters_a_run_does_not_read_is_weak() -> None:
    def rarely(prompt: Prompt, option: str) -> float:
        return -6.0 + (options(prompt)[option] in BETTER)

    found = read_judge_check(ScriptedEngine(choose=rarely), FeedbackSettings(), CONSTITUTION, 0, SINGLE_PROCESS)
    assert found.undecided.value == 1 and found.accuracy.value == 0 and found.is_weak
    believed = FeedbackSettings(min_letter_mass=0.0)
    right = read_judge_check(ScriptedEngine(choose=rarely), believed, CONSTITUTION, 0, SINGLE_PROCESS)
    assert right.undecided.value == 0 and right.accuracy.value == 1


@pytest.mark.parametrize("bias", [-4.0, 0.1, 3])
def test_a_judge_that_only_likes_a_letter_is_never_right(bias: float) -> None:
    found = read_judge_check(judge(0, bias), FeedbackSettings(), CONSTITUTION, 0, SINGLE_PROCESS)
    assert found.accuracy.value == 0
    assert found.orders_agree is not None and found.position_bias is not None
    assert found.orders_agree.value == 0
    assert found.position_bias.value == pytest.approx(bias)
    assert found.is_weak


def test_a_judge_that_likes_a_letter_is_at_chance_in_one_order() -> None:
    found = read_judge_check(judge(0, 3), FeedbackSettings(order=OptionOrder.ONE), CONSTITUTION, 0, SINGLE_PROCESS)
    assert found.accuracy.value == pytest.approx(0.5)
    assert found.orders_agree is None
    assert found.is_weak


def test_a_mute_judge_is_undecided_and_never_right() -> None:
    found = read_judge_check(NOT_TOLD, FeedbackSettings(), CONSTITUTION, 0)
    assert (found.undecided.value, found.accuracy.value) == (1, 0)
    assert (found.position_bias, found.letter_prior) == (None, None)
    assert found.injected is not None and found.injected.flipped is None
    json.dumps(found.facts(), allow_nan=False)


def test_a_judge_that_is_right_on_one_kind_alone_shows_it() -> None:
    kind = {one.better: one.kind for one in QUESTIONS.comparisons}

    def choose(prompt: Prompt, option: str) -> float:
        shown = options(prompt)
        known = next(kind[reply] for reply in shown.values() if reply in kind)
        return -3.0 + (1.0 if (shown[option] in BETTER) == (known == "harm") else 0.0)

    found = read_judge_check(ScriptedEngine(choose=choose), FeedbackSettings(), CONSTITUTION, 0, SINGLE_PROCESS)
    assert {name: part.value for name, part in found.by_kind.items()} == {"harm": 1, "evasion": 0, "lecture": 0}


def test_in_the_reasoned_form_the_judge_reasons_first() -> None:
    def think(prompt: Prompt, seed: int) -> str:
        return next((letter for letter in "AB" if options(prompt)[letter] in BETTER), "neither") + " is better."

    def choose(prompt: Prompt, option: str) -> float:
        assert prompt.turns[-1].role is Role.REASONING
        return -0.1 if prompt.turns[-1].content.startswith(option) else -3.0

    engine = ScriptedEngine(think, choose)
    found = read_judge_check(engine, FeedbackSettings(form=FeedbackForm.REASONED, few_shot=2), CONSTITUTION, 0)
    assert found.accuracy.value == 1
    assert found.facts()["judge"]["form"] == "reasoned"
    # Replies without content are better than nothing: no reasoning names a letter, and both are equally probable.
    assert found.letter_prior is not None and found.letter_prior.probability.value == 0.5
    assert found.injected is not None and found.injected.flipped is not None and found.injected.flipped.value == 0


def test_reasoning_that_breaks_off_is_no_answer() -> None:
    engine = ScriptedEngine(lambda prompt, seed: Completion("so", Finish.LENGTH), lambda prompt, option: -1.0)
    found = read_judge_check(engine, FeedbackSettings(form=FeedbackForm.REASONED), CONSTITUTION, 0, SINGLE_PROCESS)
    assert found.undecided.value == 1


def noisy(n: int) -> tuple[JudgeQuestions, ScriptedEngine]:
    """Comparisons on which a judge says with probability p that a reply is better which is so with probability p."""
    principle = PreferencePrinciple("p", "Choose the better one.")
    odds: dict[str, float] = {}
    comparisons = []
    for number in range(n):
        lean = 6 * (uniform_for("lean", number) - 0.5)
        better_first = uniform_for("truth", number) < 1 / (1 + math.exp(-lean))
        one, other = f"one {number}", f"other {number}"
        odds |= {one: lean, other: 0.0}
        replies = (one, other) if better_first else (other, one)
        comparisons.append(PlainComparison(Conversation((Turn(Role.HUMAN, "?"),)), *replies, principle, "noise"))
    engine = ScriptedEngine(choose=lambda prompt, option: -3 + odds[options(prompt)[option]])
    return JudgeQuestions(tuple(comparisons), (), (), (), "noisy comparisons"), engine


def test_a_calibrated_noisy_judge_is_found_calibrated() -> None:
    questions, engine = noisy(5000)
    facts = read_judge_check(engine, FeedbackSettings(), CONSTITUTION, 0, questions).facts()["judge"]
    assert facts["ece"] < 0.02
    # The mean of p (1 - p) for log-odds even over [-3, 3]: (2 sigmoid(3) - 1) / 6.
    assert facts["brier"] == pytest.approx((2 / (1 + math.exp(-3)) - 1) / 6, abs=0.01)
    assert sum(row["n"] for row in facts["calibration"]) == 5000
    assert all(row["low"] - 0.02 <= row["p"] <= row["high"] + 0.02 for row in facts["calibration"])


def test_a_judge_twice_as_sure_as_it_is_right_is_not_calibrated() -> None:
    questions, engine = noisy(2000)
    sure = ScriptedEngine(choose=lambda prompt, option: 2 * engine.choose([prompt], [option])[0][0])
    facts = read_judge_check(sure, FeedbackSettings(), CONSTITUTION, 0, questions).facts()["judge"]
    assert facts["ece"] > 0.08


def test_figures_are_json_and_have_the_shape_that_the_report_reads() -> None:
    facts = read_judge_check(judge(2, 0), FeedbackSettings(), CONSTITUTION, 0).facts()
    assert {"value", "low", "high", "n", "chance", "what", "by_kind", "by_principle"} <= set(facts["judge"])
    json.dumps(facts, allow_nan=False)
    assert check_judge(FeedbackSettings(), CONSTITUTION, 0)(judge(2, 0)) == facts


def test_the_order_of_the_questions_changes_no_answer() -> None:
    turned = JudgeQuestions(QUESTIONS.comparisons[::-1], (), (), (), QUESTIONS.what)
    settings = FeedbackSettings(few_shot=2, prefix_variants=3)
    asked = []
    for questions in (SINGLE_PROCESS, turned):
        engine = judge(1, 0.3)
        read_judge_check(engine, settings, CONSTITUTION, 0, questions)
        asked.append(sorted(digest(repr(prompt)) for prompt in engine.prompts))
    # Both orders of every comparison are asked, so nothing but the place in the list is other.
    assert asked[0] == asked[1]


@pytest.mark.parametrize(("quality", "says"), [(0, "no better than chance"), (-2, "worse than chance")])
def test_a_weak_judge_stops_with_its_accuracy_and_the_way_on(quality: float, says: str) -> None:
    likes_a = judge(quality, 3 if quality == 0 else 0)
    settings = FeedbackSettings(order=OptionOrder.ONE)
    with pytest.raises(StageError) as stop:
        check_judge(settings, CONSTITUTION, 0, SINGLE_PROCESS, go_on="solon run runs/x --accept-weak-judge")(likes_a)
    line = str(stop.value)
    assert says in line and "104 plain comparisons" in line and "[" in line
    assert line.endswith("solon run runs/x --accept-weak-judge")
    accepted = check_judge(settings, CONSTITUTION, 0, SINGLE_PROCESS, WeakJudge.ACCEPT)(likes_a)
    assert accepted["judge"]["low"] <= 0.5


def test_the_verdict_is_one_clause() -> None:
    found = read_judge_check(judge(2), FeedbackSettings(), CONSTITUTION, 0, SINGLE_PROCESS)
    assert (
        verdict(found)
        == f"right on 100.0 % [96.4-100.0] of {len(plain_comparisons())} plain comparisons, better than chance"
    )


def test_nothing_asked_is_refused() -> None:
    with pytest.raises(ValueError, match="a check needs at least one question"):
        read_judge_check(judge(2), FeedbackSettings(), CONSTITUTION, 0, JudgeQuestions((), (), (), (), "nothing"))
