"""Planted judges: what is known of a judge must come out of its figures."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.config.builtin import constitution_path
from solon.config.recipe import FeedbackForm, OptionOrder
from solon.constitution.reader import load_constitution
from solon.conversation import Role
from solon.engines.base import Completion, Finish
from solon.engines.scripted import ScriptedEngine
from solon.evals.benchmarks.accuracy import baselines, calibration, figures, judged
from solon.evals.benchmarks.multiple_choice import Form, QuestionSetup, ask_choices, rotations
from solon.evals.benchmarks.pm_answers import ask_scores
from solon.evals.benchmarks.question_files import read_questions
from solon.evals.benchmarks.worked_examples import Worked, built_in_sets, worked_for
from solon.runs.evaluation_rows import ChoiceAnswer
from solon.runs.records import to_record
from tests.evals.benchmarks.rows import (
    BEHAVIOUR,
    RIGHT,
    TYPES,
    classifications,
    comparison,
    comparisons,
    is_right,
    options_in,
    write,
)

CONSTITUTION = load_constitution(constitution_path("harmlessness"))
FILES = {"HHH": comparisons(10), "behaviour": classifications(BEHAVIOUR, 5), "nine": classifications(TYPES)}


@pytest.fixture(params=FILES)
def file(request, tmp_path):
    return read_questions(write(tmp_path / f"{request.param}.jsonl", FILES[request.param]))


def answered(file, engine, manner=None, worked=None):
    manner = manner or QuestionSetup()
    rows = ask_choices(engine, file.questions, manner, worked or Worked())
    return to_record(figures(file.questions, rows, manner.samples)), rows


def judge(quality=0.0, bias=None, say="I thought about it."):
    def choose(prompt, letter):
        return -5 + quality * is_right(prompt, letter) + (bias or {}).get(letter, 0.0)

    return ScriptedEngine(lambda prompt, seed: say, choose)


@pytest.mark.parametrize("form", Form)
def test_an_oracle_is_right_in_every_order(file, form):
    kind = FeedbackForm.REASONED if form is Form.REASONED else FeedbackForm.LETTER
    worked = worked_for(file, kind, 4, CONSTITUTION, 0)
    manner = QuestionSetup(form=form, samples=3 if form is Form.REASONED else 1)
    found, rows = answered(file, judge(4), manner, worked)
    assert found["accuracy"]["value"] == 1
    assert (
        found["orders"]["lowest"]
        == found["orders"]["as_given"]["value"]
        == found["orders"]["same_option"]["value"]
        == 1
    )
    assert found["undecided"] == 0
    assert {len(row.log_probs) for row in rows} == {len(file.questions[0].options)}
    if found["by_label"]:
        assert {each["value"] for each in found["by_label"].values()} == {1}


@pytest.mark.parametrize("bias", [{"A": 3.0}, {"B": 0.1}, {"A": 0.3, "B": -1.7}])
@pytest.mark.parametrize("form", [Form.LETTER, Form.REASONED])
def test_a_judge_that_knows_only_letters_is_exactly_at_chance(file, bias, form):
    count = len(file.questions[0].options)
    manner = QuestionSetup(form=form, samples=2 if form is Form.REASONED else 1)
    found, rows = answered(file, judge(0, bias), manner)
    assert found["accuracy"]["value"] == pytest.approx(1 / count, abs=1e-15)
    assert found["orders"]["one_order"] == pytest.approx(1 / count, abs=1e-12)
    if count == 2:
        assert found["accuracy"]["value"] == 0.5
        assert found["orders"]["same_option"]["value"] == 0
    assert all(judged(row).credit == 1 / count for row in rows)


def test_a_known_letter_bias_is_removed_and_told(file):
    names = list(options_in_letters(file))
    bias = {letter: 1.3 * place for place, letter in enumerate(names)}
    found, rows = answered(file, judge(0.5, bias))
    fair, unbiased = answered(file, judge(0.5))
    assert found["accuracy"]["value"] == fair["accuracy"]["value"] == 1
    assert found["orders"]["as_given"]["value"] < 1
    for row, other in zip(rows, unbiased, strict=True):
        assert judged(row).probabilities == pytest.approx(judged(other).probabilities, abs=1e-12)
    prior = found["letters"]["prior"]
    assert math.log(prior[names[-1]] / prior["A"]) == pytest.approx(bias[names[-1]])


def options_in_letters(file):
    return [chr(65 + place) for place in range(len(file.questions[0].options))]


def test_two_options_are_averaged_in_log_odds(tmp_path):
    file = read_questions(write(tmp_path / "one.jsonl", comparisons(1)))
    engine = ScriptedEngine(choose=lambda p, x: {"A": -1.0, "B": -2.0}[x] + 0.7 * is_right(p, x))
    _, (row,) = answered(file, engine)
    first, second = 1.0 + 0.7, -1.0 + 0.7
    assert judged(row).probabilities[0] == pytest.approx(1 / (1 + math.exp(-(first + second) / 2)))


def test_five_chains_are_averaged_in_probability(tmp_path):
    file = read_questions(write(tmp_path / "one.jsonl", comparisons(1)))
    opinions = [3.0, -1.0, 0.5, 2.0, -0.2]
    told = []

    def think(prompt, seed):
        told.append(seed)
        return f"opinion {opinions[(len(told) - 1) % 5]}"

    def choose(prompt, letter):
        opinion = float(prompt.turns[-1].content.split()[1])
        return opinion * (options_in(prompt)[letter].startswith(RIGHT))

    found, (row,) = answered(file, ScriptedEngine(think, choose), QuestionSetup(form=Form.REASONED, samples=5))
    mean = sum(1 / (1 + math.exp(-each)) for each in opinions) / 5
    assert judged(row).probabilities[0] == pytest.approx(mean)
    assert len(set(told)) == 10, "every chain of every order is drawn from a seed of its own"
    assert judged(row, 1).probabilities[0] == pytest.approx(1 / (1 + math.exp(-3)))
    assert found["first_sample"]["accuracy"]["value"] == 1
    assert row.reasoning[0][0] == "opinion 3.0"


def test_reasoning_is_asked_for_and_shown_before_the_letter(file):
    engine = judge(1)
    answered(
        file, engine, QuestionSetup(form=Form.REASONED), worked_for(file, FeedbackForm.REASONED, 2, CONSTITUTION, 0)
    )
    first, last = engine.prompts[0], engine.prompts[-1]
    assert first.reply_as is Role.REASONING
    assert (last.reply_as, last.opening, last.turns[-1].content) == (Role.ANSWER, "(", "I thought about it.")
    assert last.shared == 6, "two worked examples: question, reasoning, answer"


def test_what_is_not_told_is_counted_and_never_guessed(file):
    cut = Completion("and so on and so", Finish.LENGTH)
    found, rows = answered(
        file, ScriptedEngine(lambda p, s: cut, lambda p, o: 0.0), QuestionSetup(form=Form.REASONED, samples=2)
    )
    n = len(file.questions)
    assert (found["undecided"], found["accuracy"]["value"], found["answered"]) == (n, 0, None)
    assert found["undecided_because"] == {"the reasoning is empty or cut off": n}
    assert found["calibration"] == {"ece": None, "brier": None, "bins": []}
    assert all(judged(row) is None for row in rows)
    found, _ = answered(file, ScriptedEngine(choose=lambda p, o: math.nan if o == "B" else 0.0))
    assert found["undecided_because"] == {"a letter's probability is missing": n}
    for form in Form:
        found, _ = answered(file, ScriptedEngine(choose=lambda p, o: 0.0, window=5), QuestionSetup(form=form))
        assert found["undecided_because"] == {"the question is longer than the window": n}


def test_a_chain_without_an_end_leaves_the_others(tmp_path):
    file = read_questions(write(tmp_path / "one.jsonl", comparisons(2)))
    say = iter([Completion("cut", Finish.LENGTH), "whole"] * 4)
    engine = ScriptedEngine(lambda p, s: next(say), lambda p, o: 2.0 * is_right(p, o))
    found, _ = answered(file, engine, QuestionSetup(form=Form.REASONED, samples=2))
    assert (found["accuracy"]["value"], found["unfinished_samples"], found["undecided"]) == (1, 4, 0)
    assert found["first_sample"]["undecided"] == 2


def test_one_order_is_drawn_per_question(file):
    manner = QuestionSetup(order=OptionOrder.ONE)
    found, rows = answered(file, judge(3), manner)
    assert found["accuracy"]["value"] == 1
    assert found["orders"] is None and found["letters"] is None
    assert len({row.rotations[0] for row in rows}) > 1
    assert all(rotations(question, manner) == row.rotations for question, row in zip(file.questions, rows, strict=True))


def test_a_calibrated_judge_comes_out_calibrated():
    drawn = random.Random(1)
    rows = []
    for _ in range(5000):
        p = drawn.uniform(0.02, 0.98)
        correct = 0 if drawn.random() < p else 1
        told = ((math.log(p), math.log(1 - p)),)
        rows.append(ChoiceAnswer(line=1, correct=correct, rotations=(0,), log_probs=(told,)))
    answers = [judged(row) for row in rows]
    found = to_record(calibration(answers))
    assert found["ece"] < 0.02
    # E[p(1-p)] of this judge, by integration over its range.
    assert found["brier"] == pytest.approx(0.25 - 0.96**2 / 12, abs=0.01)
    assert sum(each["n"] for each in found["bins"]) == 5000


@given(st.lists(st.floats(-40, 0), min_size=2, max_size=9), st.lists(st.floats(-40, 0), min_size=9, max_size=9))
def test_probabilities_owe_nothing_to_what_letters_add(merits, pulls):
    count = len(merits)

    def row(extra):
        turned = [tuple(merits[(r + place) % count] + extra[place] for place in range(count)) for r in range(count)]
        log_probs = tuple((each,) for each in turned)
        return ChoiceAnswer(line=1, correct=0, rotations=tuple(range(count)), log_probs=log_probs)

    plain, pulled = judged(row([0.0] * 9)), judged(row(pulls))
    assert pulled.probabilities == pytest.approx(plain.probabilities, abs=1e-9)
    assert math.fsum(plain.probabilities) == pytest.approx(1)


def test_baselines(tmp_path):
    rows = [comparison(n, "long and right", "short") for n in range(3)] + [comparison(4, "even", "same")]
    rows.append(comparison(6, "no", "longer"))
    found = to_record(baselines(read_questions(write(tmp_path / "a.jsonl", rows)).questions))
    assert found["chance"] == 0.5
    assert (found["longer"]["value"], found["longer"]["n"]) == (3.5 / 5, 5)
    assert (found["majority"]["letter"], found["majority"]["value"]) == ("A", 4 / 5)
    nine = to_record(baselines(read_questions(write(tmp_path / "b.jsonl", classifications())).questions))
    assert nine["chance"] == 1 / 9 and nine["longer"] is None


def test_a_preference_model_compares_scores(tmp_path):
    file = read_questions(write(tmp_path / "a.jsonl", comparisons(4)))

    def scores(conversations):
        assert all(each.turns[-1].role is Role.ASSISTANT for each in conversations)
        found = [2.0 if each.turns[-1].content.startswith(RIGHT) else 0.5 for each in conversations]
        found[2:4] = [1.0, 1.0]
        found[4] = None
        found[6] = math.nan
        return found

    rows = ask_scores(scores, file.questions)
    answers = [judged(row) for row in rows]
    assert answers[0].probabilities[0] == pytest.approx(1 / (1 + math.exp(-1.5)))
    assert answers[1].credit == 0.5
    assert answers[2:] == [None, None]
    found = to_record(figures(file.questions, rows, 1))
    assert (found["accuracy"]["value"], found["answered"]["value"]) == (1.5 / 4, 1.5 / 2)
    assert len(found["undecided_because"]) == 2
    assert found["orders"] is None


def test_worked_examples_spread_their_letters_and_name_their_answers(file):
    worked = worked_for(file, FeedbackForm.LETTER, 4, CONSTITUTION, 0)
    if file.questions[0].options == BEHAVIOUR:
        assert sorted(each.letter for each in worked.classified) == ["A", "A", "B", "B"]
    if file.questions[0].options == TYPES:
        assert len({each.letter for each in worked.classified}) == 4
    for example in worked.classified:
        right = example.options[ord(example.letter) - 65]
        mine = next(each for one in built_in_sets() for each in one if each.conversation == example.conversation)
        assert mine.label in right.lower()
        assert sorted(example.options) == sorted(file.questions[0].options)
        assert "(" + example.letter + ")" not in example.reasoning
    assert worked_for(file, FeedbackForm.LETTER, 0, CONSTITUTION, 0) == Worked()
