import math
from itertools import pairwise
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stages.workbench import Bench, Killed, prompt_row

from solon.config.recipe import FeedbackForm, FeedbackSettings, OptionOrder
from solon.constitution.constitution import draw
from solon.conversation import Prompt, Role
from solon.digest import uniform_for
from solon.engines.base import Completion, Finish
from solon.engines.scripted import ScriptedEngine
from solon.errors import RecipeError
from solon.feedback.comparisons import ShownOrder, UndecidedReason, few_shot_variants
from solon.feedback.letters import log_odds
from solon.runs.outcome import Outcome
from solon.runs.rows import PairRow
from solon.stages import s06_ai_feedback
from solon.stages.s06_ai_feedback import FeedbackInputs
from solon.stats.log_odds import sigmoid

SEED = 11


def pair_row(text: str, a: str = "good reply", b: str = "bad reply", outcome: str = "ok"):
    prompt = prompt_row(text)
    return {
        "row_id": prompt["row_id"],
        "pair": 1,
        "prompt": prompt["prompt"],
        "response_a": a,
        "response_b": b,
        "seed_a": 1,
        "seed_b": 2,
        "finish_a": "end",
        "finish_b": "end",
        "outcome": outcome,
        "defects": [],
    }


def mixed_pairs(n: int = 24):
    """Pairs of which half have the good reply in place A."""
    sides = (("good reply", "bad reply"), ("bad reply", "good reply"))
    return [pair_row(f"harm {i}", *sides[i % 2]) for i in range(n)]


def work(bench: Bench, engine: ScriptedEngine, rows=None, **settings):
    pairs = bench.run.finished("pairs") or bench.artefact("pairs", rows or mixed_pairs(), PairRow)
    inputs = FeedbackInputs(SEED, bench.constitution, pairs, chunk=5)
    return s06_ai_feedback.run(FeedbackSettings(**settings), inputs, engine, bench.out("ai-feedback", 6))


def options(prompt: Prompt) -> dict[str, str]:
    """What stands under each letter of the question itself."""
    a, _, b = prompt.turns[-1].content.partition("\n(A) ")[2].partition("\n(B) ")
    return {"A": a, "B": b}


def oracle(prompt: Prompt, option: str) -> float:
    """Knows the good reply, wherever it stands."""
    return -0.1 if options(prompt)[option] == "good reply" else -3.0


def judge(quality: float, bias: float):
    """Prefers the good reply by `quality` in log-odds, and the letter A by `bias`."""

    def choose(prompt: Prompt, option: str) -> float:
        return -5 + quality * (options(prompt)[option] == "good reply") + bias * (option == "A")

    return ScriptedEngine(choose=choose)


@pytest.mark.parametrize("order", OptionOrder)
@pytest.mark.parametrize("few_shot", [0, 3])
def test_a_planted_oracle_judge_agrees_with_the_truth_in_every_order(tmp_path, order, few_shot):
    artefact = work(Bench(tmp_path), ScriptedEngine(choose=oracle), order=order, few_shot=few_shot)
    rows = artefact.table().to_pylist()
    assert len(rows) == 24
    for row in rows:
        assert (row["p_a"] > 0.5) == (row["response_a"] == "good reply")
        assert row["chosen"] == [{"role": "assistant", "content": "good reply"}]
        assert row["rejected"] == [{"role": "assistant", "content": "bad reply"}]
        assert row["p_chosen"] == max(row["p_a"], 1 - row["p_a"]) == pytest.approx(sigmoid(2.9))
        assert (row["outcome"], row["judge"]) == ("ok", "scripted")
        for seen in (row["log_odds_ab"], row["log_odds_ba"]):
            assert seen is None or (seen > 0) == (row["response_a"] == "good reply")
    if order is OptionOrder.BOTH:
        assert artefact.facts["quality"]["orders_agree"]["value"] == 1
        assert artefact.facts["quality"]["position_bias"]["value"] == pytest.approx(0)


def test_a_judge_that_always_says_a_gives_one_half_and_prefers_nobody(tmp_path):
    artefact = work(Bench(tmp_path), judge(0, 4.0))
    rows = artefact.table().to_pylist()
    assert {(row["p_a"], row["p_chosen"], row["outcome"]) for row in rows} == {(0.5, 0.5, "ok")}
    assert artefact.facts["quality"]["orders_agree"]["value"] == 0
    assert artefact.facts["quality"]["position_bias"]["value"] == pytest.approx(4)
    first = sum(row["chosen"][0]["content"] == row["response_a"] for row in rows)
    assert 4 < first < 20


@given(quality=st.floats(0.01, 6), bias=st.floats(-6, 6))
def test_averaging_both_orders_takes_out_any_liking_for_a_letter(quality, bias):
    first, second = quality + bias, 0.0  # A shown first and better
    ab, ba = log_odds(ShownOrder.AB, first, second), log_odds(ShownOrder.BA, bias, quality)
    if isinstance(ab, UndecidedReason) or isinstance(ba, UndecidedReason):
        assert first == second or bias == quality
    else:
        assert (ab + ba) / 2 == pytest.approx(quality)
        assert (ab - ba) / 2 == pytest.approx(bias, abs=1e-9)


def test_a_known_bias_is_recovered_in_the_facts(tmp_path):
    artefact = work(Bench(tmp_path), judge(1.5, 0.7))
    assert artefact.facts["quality"]["position_bias"]["value"] == pytest.approx(0.7)
    assert artefact.facts["quality"]["orders_agree"]["value"] == 1
    assert {round(row["p_chosen"], 9) for row in artefact.table().to_pylist()} == {round(sigmoid(1.5), 9)}
    assert artefact.facts["quality"]["confidence"]["value"] == pytest.approx(sigmoid(1.5))
    assert fmean(row["p_a"] for row in artefact.table().to_pylist()) == pytest.approx(0.5)


def test_one_order_is_drawn_per_row_and_recorded(tmp_path):
    artefact = work(Bench(tmp_path), judge(1.5, 0.7), order=OptionOrder.ONE)
    asked = [row["log_odds_ab"] is not None for row in artefact.table().to_pylist()]
    assert all((row["log_odds_ab"] is None) != (row["log_odds_ba"] is None) for row in artefact.table().to_pylist())
    assert 4 < sum(asked) < 20
    assert asked == [
        uniform_for(SEED, "option order", row["row_id"], row["pair"]) < 0.5 for row in artefact.table().to_pylist()
    ]
    assert artefact.facts["quality"]["orders_agree"] is None


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda prompt, option: math.nan, UndecidedReason.NO_LOGPROB),
        (lambda prompt, option: math.nan if option == "B" else -1.0, UndecidedReason.NO_LOGPROB),
        (lambda prompt, option: -math.inf, UndecidedReason.NO_LOGPROB),
        (lambda prompt, option: -0.7, UndecidedReason.TIE),
        (lambda p, option: -1.0 if options(p)["A"] == "bad reply" else oracle(p, option), UndecidedReason.TIE),
    ],
)
def test_no_usable_preference_is_undecided_and_has_no_label(tmp_path, answer, why):
    artefact = work(Bench(tmp_path), ScriptedEngine(choose=answer))
    for row in artefact.table().to_pylist():
        assert (row["outcome"], row["p_a"], row["p_chosen"]) == ("undecided", None, None)
        assert (row["chosen"], row["rejected"]) == (None, None)
        assert row["undecided_because"] == why.value
    assert artefact.facts["quality"]["undecided"]["value"] == 1
    assert artefact.facts["undecided_because"] == {why.value: 24}
    assert artefact.facts["quality"]["confidence"] is None


def test_failed_and_identical_pairs_are_not_asked(tmp_path):
    rows = [
        pair_row("fine"),
        pair_row("cut off", outcome="truncated"),
        pair_row("same", "one reply", "one reply"),
    ]
    engine = ScriptedEngine(choose=oracle)
    artefact = work(Bench(tmp_path), engine, rows=rows)
    got = {row["prompt"][0]["content"]: row for row in artefact.table().to_pylist()}
    assert got["fine"]["outcome"] == Outcome.OK
    assert (got["cut off"]["p_a"], got["cut off"]["undecided_because"]) == (None, UndecidedReason.FAILED.value)
    assert (got["same"]["p_a"], got["same"]["undecided_because"]) == (None, UndecidedReason.IDENTICAL.value)
    assert len(engine.prompts) == 2
    assert artefact.manifest.outcomes == {"ok": 1, "undecided": 2}


def test_a_question_longer_than_the_window_is_undecided(tmp_path):
    rows = [pair_row("short"), pair_row("long", "word " * 50, "other " * 50)]
    engine = ScriptedEngine(choose=lambda prompt, option: -1.0 - (option == "B") * len(options(prompt)["A"]), window=60)
    got = {row["prompt"][0]["content"]: row for row in work(Bench(tmp_path), engine, rows=rows).table().to_pylist()}
    assert got["short"]["outcome"] == "ok"
    assert (got["long"]["outcome"], got["long"]["undecided_because"]) == ("undecided", UndecidedReason.TOO_LONG.value)


def test_a_principle_is_drawn_per_row_shown_and_counted(tmp_path):
    bench, engine = Bench(tmp_path), ScriptedEngine(choose=oracle)
    artefact = work(bench, engine)
    texts = {principle.id: principle.instruction for principle in bench.constitution.preference}
    counts = dict.fromkeys(texts, 0)
    for row in artefact.table().to_pylist():
        assert row["principle_id"] == draw(bench.constitution.preference, SEED, row["row_id"], row["pair"]).id
        counts[row["principle_id"]] += 1
        questions = [
            p.turns[-1].content for p in engine.prompts if row["prompt"][0]["content"] + "\n" in p.turns[-1].content
        ]
        assert len(questions) == 2
        assert all(texts[row["principle_id"]] in question for question in questions)
    assert artefact.facts["principles"] == counts
    assert min(counts.values()) > 0


def test_few_shot_prefixes_repeat_and_carry_their_own_principles(tmp_path):
    bench, engine = Bench(tmp_path), ScriptedEngine(choose=oracle)
    work(bench, engine, few_shot=2, prefix_variants=3)
    prefixes = [prompt.turns[: prompt.shared] for prompt in engine.prompts]
    assert 1 < len(set(prefixes)) <= 3
    changes = sum(a != b for a, b in pairwise(prefixes))
    assert changes < len(set(prefixes)), "pairs with the same prefix are judged together"
    both = {}
    for prompt, prefix in zip(engine.prompts, prefixes, strict=True):
        both.setdefault(prompt.turns[-1].content.partition("Human: ")[2].split("\n")[0], set()).add(prefix)
    assert {len(seen) for seen in both.values()} == {1}, "both orders of a pair have the same prefix"


@given(seed=st.integers(0, 1000), count=st.integers(0, 3))
def test_arrangements_are_balanced_and_repeatable(constitution, seed, count):
    settings = FeedbackSettings(few_shot=count, prefix_variants=4)
    variants = few_shot_variants(settings, constitution, seed)
    assert variants == few_shot_variants(settings, constitution, seed)
    for shots in variants:
        letters = [letter for _, _, letter in shots]
        assert abs(letters.count("A") - letters.count("B")) <= 1
        assert len({example.better for example, _, _ in shots}) == count


@pytest.fixture(scope="module")
def constitution(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("constitution")).constitution


def test_too_few_worked_comparisons_are_named_with_the_setting(tmp_path):
    with pytest.raises(RecipeError, match=r"feedback\.few_shot: 4 worked comparisons .* has 3\. .*few_shot=3"):
        work(Bench(tmp_path), ScriptedEngine(choose=oracle), few_shot=4)


def test_a_killed_stage_resumes_to_the_same_bytes(tmp_path):
    whole = work(Bench(tmp_path / "whole"), judge(1.0, 0.3))
    bench, calls = Bench(tmp_path / "killed"), 0

    def dying(prompt: Prompt, option: str) -> float:
        nonlocal calls
        calls += 1
        if calls > 50:
            raise Killed
        return -5 + 1.0 * (options(prompt)[option] == "good reply") + 0.3 * (option == "A")

    with pytest.raises(Killed):
        work(bench, ScriptedEngine(choose=dying))
    engine = judge(1.0, 0.3)
    assert work(bench, engine).hash == whole.hash
    assert 0 < len(engine.prompts) < 48


@given(st.floats(-800, 800))
def test_sigmoid_is_a_probability_and_symmetric(x):
    assert 0 <= sigmoid(x) <= 1
    assert sigmoid(x) + sigmoid(-x) == pytest.approx(1)


@pytest.mark.parametrize("form", FeedbackForm)
def test_a_question_that_is_longer_than_the_window_says_so_in_every_form(tmp_path, form):
    rows = work(Bench(tmp_path), ScriptedEngine(window=20), form=form).table().to_pylist()
    assert {row["undecided_because"] for row in rows} == {UndecidedReason.TOO_LONG.value}


@pytest.mark.parametrize("order", OptionOrder)
def test_in_the_reasoned_form_the_letters_are_read_after_the_reasoning(tmp_path, order):
    def think(prompt: Prompt, seed: int) -> str:
        return next(letter for letter in "AB" if options(prompt)[letter] == "good reply") + " is better."

    def choose(prompt: Prompt, option: str) -> float:
        assert prompt.turns[-1].role is Role.REASONING
        return -0.1 if prompt.turns[-1].content.startswith(option) else -3.0

    engine = ScriptedEngine(generate=think, choose=choose)
    rows = work(Bench(tmp_path), engine, order=order, form=FeedbackForm.REASONED).table().to_pylist()
    for row in rows:
        assert (row["p_a"] > 0.5) == (row["response_a"] == "good reply")
        (judgement,) = row["judgements"]
        thoughts = [*(judgement["reasoning_ab"] or []), *(judgement["reasoning_ba"] or [])]
        assert len(thoughts) == (2 if order is OptionOrder.BOTH else 1)
        assert set(thoughts) <= {"A is better.", "B is better."}


def test_a_pair_whose_reasoning_breaks_off_is_undecided(tmp_path):
    engine = ScriptedEngine(
        generate=lambda prompt, seed: Completion("because", Finish.LENGTH), choose=lambda prompt, option: -1.0
    )
    rows = work(Bench(tmp_path), engine, form=FeedbackForm.REASONED).table().to_pylist()
    assert {row["undecided_because"] for row in rows} == {UndecidedReason.UNREASONED.value}
    assert {row["p_chosen"] for row in rows} == {None}
