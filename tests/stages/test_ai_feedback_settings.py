"""Planted judges through samples, clamping, votes, several judges and axes: what is known of them must come out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.stages.test_s06_ai_feedback import SEED, judge, mixed_pairs, options, oracle, pair_row
from tests.stages.workbench import CONSTITUTION, Bench, Killed

from solon.config.recipe import FeedbackForm, FeedbackSettings, OptionOrder
from solon.constitution.reader import load_constitution
from solon.conversation import Prompt, Role
from solon.digest import uniform_for
from solon.engines.base import Choosing, Completion, Finish
from solon.engines.scripted import ScriptedEngine
from solon.errors import RecipeError, StageError
from solon.feedback.comparisons import UndecidedReason
from solon.feedback.letters import votes_log_odds
from solon.feedback.soft_labels import on_axis
from solon.runs import Artefact
from solon.runs.outcome import Outcome
from solon.runs.rows import LabelRow, PairRow, PromptKind
from solon.stages import s06_ai_feedback
from solon.stages.s06_ai_feedback import FeedbackInputs
from solon.stats.log_odds import sigmoid

AXES = CONSTITUTION.replace(
    "  - {id: kinder, instruction: Choose the kinder reply.}",
    "  - {id: kinder, instruction: Choose the kinder reply., axis: kindness}\n"
    "  - {id: warmer, instruction: Choose the warmer reply., axis: kindness, weight: 3}",
)
Judges = ScriptedEngine | Sequence[Callable[[], ScriptedEngine]]


def work(bench: Bench, judges: Judges, rows: Any = None, assess: Any = None, **settings: Any) -> Artefact:
    pairs = bench.run.finished("pairs") or bench.artefact("pairs", rows or mixed_pairs(), PairRow)
    inputs = FeedbackInputs(SEED, bench.constitution, pairs, chunk=5, assess=assess)
    out = bench.out("ai-feedback", 6)
    return s06_ai_feedback.run(FeedbackSettings.model_validate(settings), inputs, judges, out)


def with_axes(path: Path) -> Bench:
    bench = Bench(path)
    (path / "axes.yaml").write_text(AXES)
    bench.constitution = load_constitution(path / "axes.yaml")
    return bench


def good_letter(prompt: Prompt) -> str:
    return next(letter for letter in "AB" if options(prompt)[letter] == "good reply")


def reasoner(quality: float, bias: float, noise: float = 0.0) -> ScriptedEngine:
    """Writes its seed down, and prefers the good reply by `quality` and the letter A by `bias`, but for the noise."""

    def choose(prompt: Prompt, option: str) -> float:
        thought, question = prompt.turns[-1], Prompt(prompt.turns[:-1])
        assert thought.role is Role.REASONING
        swing = noise * (2 * uniform_for(thought.content) - 1)
        return -4 + (quality + swing) * (options(question)[option] == "good reply") + bias * (option == "A")

    return ScriptedEngine(lambda prompt, seed: f"thought {seed}", choose)


def voter(answer: Callable[[Prompt, int], str]) -> ScriptedEngine:
    return ScriptedEngine(answer, choosing=Choosing.VOTES)


def obedient(prompt: Prompt, seed: int) -> str:
    return f"({good_letter(prompt)})"


EVERYWHERE: dict[str, Callable[[Callable[[Prompt], str]], tuple[Judges, dict[str, Any]]]] = {
    "letter": lambda says: (ScriptedEngine(choose=lambda p, o: -0.1 if says(p) == o else -3.0), {}),
    "votes": lambda says: (voter(lambda p, seed: f"({says(p)})"), {"votes": 4}),
    "samples": lambda says: (
        ScriptedEngine(
            lambda p, seed: f"{says(p)} it is, {seed}",
            lambda p, o: -0.1 if p.turns[-1].content.startswith(o) else -3.0,
        ),
        {"form": "reasoned", "samples": 3, "clamp": "off"},
    ),
    "clamped": lambda says: (
        ScriptedEngine(
            lambda p, seed: f"{says(p)} it is", lambda p, o: -0.1 if p.turns[-1].content.startswith(o) else -3.0
        ),
        {"form": "reasoned"},
    ),
    "judges": lambda says: (
        [
            lambda: ScriptedEngine(choose=lambda p, o: -0.1 if says(p) == o else -3.0, name="one"),
            lambda: ScriptedEngine(lambda p, seed: says(p), choosing=Choosing.VOTES, name="two"),
        ],
        {},
    ),
    "axes": lambda says: (
        ScriptedEngine(choose=lambda p, o: -0.1 if says(p) == o else -3.0),
        {"axes": {"harmlessness": 2, "kindness": 1}},
    ),
}


@pytest.mark.parametrize("order", OptionOrder)
@pytest.mark.parametrize("way", list(EVERYWHERE))
def test_an_oracle_is_right_everywhere(tmp_path: Path, way: str, order: OptionOrder) -> None:
    judges, settings = EVERYWHERE[way](good_letter)
    artefact = work(with_axes(tmp_path), judges, order=order, **settings)
    assert artefact.manifest.outcomes == {"ok": 24}
    for row in artefact.table().to_pylist():
        assert (row["p_a"] > 0.5) == (row["response_a"] == "good reply")
        assert row["chosen"][0]["content"] == "good reply" and row["p_chosen"] > 0.5
        assert all((axis["p_a"] > 0.5) == (row["response_a"] == "good reply") for axis in row["axes"])
    agree = artefact.facts["quality"]["orders_agree"]
    assert (agree["value"] == 1) if order is OptionOrder.BOTH else (agree is None)


@pytest.mark.parametrize("way", list(EVERYWHERE))
def test_a_judge_that_always_says_a_gives_exactly_one_half_everywhere(tmp_path: Path, way: str) -> None:
    judges, settings = EVERYWHERE[way](lambda prompt: "A")
    artefact = work(with_axes(tmp_path), judges, **settings)
    assert {(row["p_a"], row["p_chosen"]) for row in artefact.table().to_pylist()} == {(0.5, 0.5)}
    assert (
        artefact.facts["quality"]["orders_agree"]["value"] == 0
        and artefact.facts["quality"]["position_bias"]["value"] > 1
    )
    first = sum(row["chosen"][0]["content"] == row["response_a"] for row in artefact.table().to_pylist())
    assert 4 < first < 20, "which reply stands first is drawn"


@pytest.mark.parametrize("samples", [1, 4])
def test_samples_are_averaged_in_probability_and_their_reasoning_is_kept(tmp_path: Path, samples: int) -> None:
    engine = reasoner(1.0, 0.7, noise=2.0)
    artefact = work(Bench(tmp_path), engine, form="reasoned", samples=samples, clamp="off")
    for row in artefact.table().to_pylist():
        (told,) = row["judgements"]
        side = 1 if row["response_a"] == "good reply" else -1
        for order, sign in (("ab", 1), ("ba", -1)):
            thoughts = told[f"reasoning_{order}"]
            assert len(set(thoughts)) == len(thoughts) == samples, "every sample has a seed of its own"
            swings = [2.0 * (2 * uniform_for(thought) - 1) for thought in thoughts]
            by_hand = sum(sigmoid(side * (1.0 + swing) + sign * 0.7) for swing in swings) / samples
            assert sigmoid(row[f"log_odds_{order}"]) == pytest.approx(by_hand)
        assert row["p_a"] == pytest.approx(sigmoid((row["log_odds_ab"] + row["log_odds_ba"]) / 2))
    assert artefact.facts["samples"] == samples


def test_the_first_sample_is_the_one_that_a_single_sample_would_be(tmp_path: Path) -> None:
    one, four = (
        work(Bench(tmp_path / str(n)), reasoner(1, 0), form="reasoned", samples=n)
        .table()
        .to_pylist()[0]["judgements"][0]
        for n in (1, 4)
    )
    assert four["reasoning_ab"][0] == one["reasoning_ab"][0]


def test_a_sample_that_breaks_off_does_not_count_and_a_pair_without_any_is_undecided(tmp_path: Path) -> None:
    def generate(prompt: Prompt, seed: int) -> str | Completion:
        if "harm 1\n" in prompt.turns[-1].content or seed % 3 == 0:
            return Completion("so", Finish.LENGTH)
        return f"thought {seed}"

    def choose(prompt: Prompt, option: str) -> float:
        return -1.0 if options(Prompt(prompt.turns[:-1]))[option] == "good reply" else -2.0

    artefact = work(Bench(tmp_path), ScriptedEngine(generate, choose), form="reasoned", samples=8, clamp="off")
    assert any(
        "" in row["judgements"][0]["reasoning_ab"] for row in artefact.table().to_pylist() if row["p_a"] is not None
    )
    for row in artefact.table().to_pylist():
        if row["prompt"][0]["content"] == "harm 1":
            assert (row["p_a"], row["undecided_because"]) == (None, UndecidedReason.UNREASONED.value)
        else:
            assert row["p_chosen"] == pytest.approx(sigmoid(1.0))


@pytest.mark.parametrize(
    ("form", "clamp", "bounds"),
    [
        (FeedbackForm.REASONED, None, (0.4, 0.6)),
        (FeedbackForm.REASONED, [0.2, 0.8], (0.2, 0.8)),
        (FeedbackForm.REASONED, "off", None),
        (FeedbackForm.LETTER, None, None),
        (FeedbackForm.LETTER, [0.2, 0.8], (0.2, 0.8)),
    ],
)
def test_labels_are_clamped_and_what_they_were_is_kept(
    tmp_path: Path, form: FeedbackForm, clamp: object, bounds: tuple[float, float] | None
) -> None:
    engine = reasoner(2.0, 0.5) if form is FeedbackForm.REASONED else judge(2.0, 0.5)
    given = {} if clamp is None else {"clamp": clamp}
    artefact = work(Bench(tmp_path), engine, form=form, **given)
    assert artefact.facts["clamp"] == (None if bounds is None else list(bounds))
    for row in artefact.table().to_pylist():
        whole = sigmoid(2.0)
        assert max(row["p_a_unclamped"], 1 - row["p_a_unclamped"]) == pytest.approx(whole)
        assert row["p_chosen"] == pytest.approx(bounds[1] if bounds else whole)
        assert row["axes"][0]["p_a_unclamped"] == row["p_a_unclamped"] and row["axes"][0]["p_a"] == row["p_a"]
    assert artefact.facts["quality"]["position_bias"]["value"] == pytest.approx(0.5)


def test_votes_are_shares_with_half_a_vote_for_each_letter(tmp_path: Path) -> None:
    artefact = work(Bench(tmp_path), voter(obedient), votes=8)
    assert artefact.facts["read"] == artefact.facts["judges"][0]["read"] == "votes"
    for row in artefact.table().to_pylist():
        assert row["p_chosen"] == pytest.approx(8.5 / 9)
        told = row["judgements"][0]
        good_is_a = row["response_a"] == "good reply"
        assert (told["votes_ab"], told["votes_ba"]) == (([8, 8], [0, 8]) if good_is_a else ([0, 8], [8, 8]))
        assert row["log_odds_ab"] == pytest.approx(votes_log_odds(8, 8) * (1 if good_is_a else -1))


def test_a_known_bias_is_recovered_from_votes(tmp_path: Path) -> None:
    def answer(prompt: Prompt, seed: int) -> str:
        a = sigmoid(1.0 * (1 if good_letter(prompt) == "A" else -1) + 0.6)
        return "(A)" if uniform_for("vote", seed) < a else "(B)"

    artefact = work(Bench(tmp_path), voter(answer), votes=120)
    assert artefact.facts["quality"]["position_bias"]["value"] == pytest.approx(0.6, abs=0.1)
    labels = [row["log_odds_ab"] + row["log_odds_ba"] for row in artefact.table().to_pylist()]
    sides = [1 if row["response_a"] == "good reply" else -1 for row in artefact.table().to_pylist()]
    assert sum(x * side / 2 for x, side in zip(labels, sides, strict=True)) / 24 == pytest.approx(1.0, abs=0.12)


def test_texts_that_name_no_letter_are_no_votes(tmp_path: Path) -> None:
    mixed = work(Bench(tmp_path / "some"), voter(lambda p, seed: obedient(p, seed) if seed % 3 else "Hard to say."))
    for row in mixed.table().to_pylist():
        told = row["judgements"][0]
        assert told["votes_ab"] is None or told["votes_ab"][1] < 8
        assert (row["p_a"] is None) == (row["undecided_because"] == UndecidedReason.NO_VOTE.value)
    mute = work(Bench(tmp_path / "none"), voter(lambda prompt, seed: "Hard to say."))
    assert mute.facts["undecided_because"] == {UndecidedReason.NO_VOTE.value: 24}
    assert {row["p_chosen"] for row in mute.table().to_pylist()} == {None}


def test_votes_follow_on_every_reasoning_and_are_pooled(tmp_path: Path) -> None:
    def answer(prompt: Prompt, seed: int) -> str:
        if prompt.reply_as is Role.REASONING:
            return f"thought {seed}"
        assert prompt.turns[-1].role is Role.REASONING and prompt.opening == ""
        return f"({good_letter(Prompt(prompt.turns[:-1]))})"

    artefact = work(Bench(tmp_path), voter(answer), form="reasoned", samples=3, votes=7, clamp="off")
    assert {row["judgements"][0]["votes_ab"][1] for row in artefact.table().to_pylist()} == {9}, (
        "at least 7, as many for each"
    )
    assert {round(row["p_chosen"], 9) for row in artefact.table().to_pylist()} == {round(9.5 / 10, 9)}


def test_a_letter_that_hardly_occurs_is_no_answer(tmp_path: Path) -> None:
    def choose(prompt: Prompt, option: str) -> float:
        far = -12.0 if "harm 1" in prompt.turns[-1].content else 0.0
        return far + oracle(prompt, option)

    artefact = work(Bench(tmp_path / "some"), ScriptedEngine(choose=choose))
    unanswered = artefact.facts["undecided_because"]
    assert unanswered == {UndecidedReason.LETTERLESS.value: 11}, "harm 1 and harm 10 to 19"
    masses = [row["judgements"][0]["letter_mass"] for row in artefact.table().to_pylist()]
    assert artefact.facts["judges"][0]["letter_mass"] == pytest.approx(math.fsum(masses) / 24)
    with pytest.raises(StageError, match="does not answer with a letter"):
        work(Bench(tmp_path / "none"), ScriptedEngine(choose=lambda p, o: -12 + oracle(p, o)))
    believed = work(Bench(tmp_path / "all"), ScriptedEngine(choose=lambda p, o: -12 + oracle(p, o)), min_letter_mass=0)
    assert believed.facts["quality"]["undecided"]["value"] == 0


def test_several_judges_are_loaded_one_after_another_and_averaged_in_probability(tmp_path: Path) -> None:
    loaded: list[str] = []

    def load(name: str, quality: float, bias: float) -> Callable[[], ScriptedEngine]:
        def made() -> ScriptedEngine:
            loaded.append(name)
            engine = judge(quality, bias)
            engine.name = name
            return engine

        return made

    artefact = work(Bench(tmp_path), [load("sure", 9, 1), load("doubting", -0.5, 0)])
    assert loaded == ["sure", "doubting"]
    facts = artefact.facts
    assert (facts["judge"], [each["name"] for each in facts["judges"]]) == ("sure + doubting", loaded)
    for row in artefact.table().to_pylist():
        sure, doubting = row["judgements"]
        side = 1 if row["response_a"] == "good reply" else -1
        assert (sure["judge"], doubting["judge"]) == ("sure", "doubting")
        assert (sure["log_odds_ab"], doubting["log_odds_ab"]) == pytest.approx((9 * side + 1, -0.5 * side))
        assert row["p_a"] == pytest.approx((sigmoid(9 * side) + sigmoid(-0.5 * side)) / 2)
        assert sigmoid(row["log_odds_ab"]) == pytest.approx((sigmoid(9 * side + 1) + sigmoid(-0.5 * side)) / 2)


def test_a_pair_that_one_of_several_judges_leaves_open_is_undecided(tmp_path: Path) -> None:
    silent = ScriptedEngine(choose=lambda p, o: math.nan if "harm 3\n" in p.turns[-1].content else oracle(p, o))
    artefact = work(Bench(tmp_path), [lambda: judge(1, 0), lambda: silent])
    (row,) = [row for row in artefact.table().to_pylist() if row["p_a"] is None]
    assert row["undecided_because"] == UndecidedReason.NO_LOGPROB.value
    assert row["judgements"][0]["p_a"] is not None


def by_axis(prompt: Prompt, option: str) -> float:
    """Sure of the good reply where safety is asked for, and mildly against it where kindness is."""
    good = options(prompt)[option] == "good reply"
    return -3 + (2.0 * good if "safer" in prompt.turns[-1].content else -0.5 * good)


def test_each_axis_has_a_principle_and_a_label_of_its_own(tmp_path: Path) -> None:
    settings = {"axes": {"harmlessness": 3, "kindness": 1}}
    artefact = work(with_axes(tmp_path), ScriptedEngine(choose=by_axis), **settings)
    warmer = 0
    for row in artefact.table().to_pylist():
        harmless, kind = row["axes"]
        side = 1 if row["response_a"] == "good reply" else -1
        assert (harmless["axis"], harmless["weight"], harmless["principle_id"]) == ("harmlessness", 3, "safer")
        assert kind["axis"] == "kindness"
        warmer += kind["principle_id"] == "warmer"
        assert (harmless["p_a"], kind["p_a"]) == pytest.approx((sigmoid(2 * side), sigmoid(-0.5 * side)))
        assert row["p_a"] == pytest.approx(0.75 * harmless["p_a"] + 0.25 * kind["p_a"])
        assert row["principle_id"] == f"safer + {kind['principle_id']}"
        assert [told["axis"] for told in row["judgements"]] == ["harmlessness", "kindness"]
    assert 12 < warmer < 24, "three to one by weight"
    assert artefact.facts["principles"] == {"safer": 24, "kinder": 24 - warmer, "warmer": warmer}
    assert artefact.facts["axes"]["kindness"]["agrees_with_the_pair"] == 0
    assert artefact.facts["axes"]["harmlessness"]["agrees_with_the_pair"] == 1


def test_replies_to_helpful_prompts_are_judged_by_their_axis_and_all_others_by_the_rest(tmp_path: Path) -> None:
    kinds = [PromptKind.HELPFUL, PromptKind.RED_TEAM, None]
    rows = [{**row, "kind": kinds[number % 3]} for number, row in enumerate(mixed_pairs())]
    artefact = work(with_axes(tmp_path), ScriptedEngine(choose=by_axis), rows=rows, helpful_axis="kindness")
    drawn: dict[PromptKind | None, set[str]] = {kind: set() for kind in kinds}
    asked = {(row["row_id"], row["pair"]): row["kind"] for row in rows}
    for row in artefact.rows(LabelRow):
        drawn[asked[row.row_id, row.pair]].add(row.principle_id)
        assert len(row.axes) == 1
    assert drawn == {PromptKind.HELPFUL: {"kinder", "warmer"}, PromptKind.RED_TEAM: {"safer"}, None: {"safer"}}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"helpful_axis": "kindnes"}, r"feedback\.helpful_axis: .*'kindnes'.*kindness"),
        ({"helpful_axis": "kindness", "number_of_principles": 1}, r"no preference principle on the axis 'kindness'"),
    ],
)
def test_an_axis_for_helpful_prompts_that_the_constitution_lacks_is_refused(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        work(with_axes(tmp_path), judge(1, 0), **settings)


def test_red_team_prompts_need_principles_beside_those_of_helpful_ones(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no preference principle on another axis than 'harmlessness'"):
        work(Bench(tmp_path), judge(1, 0), helpful_axis="harmlessness")


def test_axes_for_every_pair_and_one_for_helpful_prompts_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="helpful_axis"):
        FeedbackSettings.model_validate({"axes": {"kindness": 1}, "helpful_axis": "kindness"})


def test_a_single_axis_of_all_principles_is_the_default_to_the_last_bit(tmp_path: Path) -> None:
    plain = work(Bench(tmp_path / "plain"), judge(1.0, 0.3))
    named = work(Bench(tmp_path / "named"), judge(1.0, 0.3), axes={"harmlessness": 1.0})
    assert named.hash == plain.hash


def test_an_axis_that_the_constitution_lacks_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"feedback\.axes\.kindnes: .*'kindnes'.*kindness"):
        work(with_axes(tmp_path), judge(1, 0), axes={"kindnes": 1})


def test_labels_of_one_axis_can_be_learnt_alone(tmp_path: Path) -> None:
    rows = work(
        with_axes(tmp_path), ScriptedEngine(choose=by_axis), axes={"harmlessness": 3, "kindness": 1}, clamp=[0.45, 0.55]
    ).rows(LabelRow)
    for row in on_axis(rows, "kindness", SEED):
        assert row.chosen == "bad reply" and row.p_chosen == pytest.approx(0.55)
    lost = [replace(row, outcome=Outcome.UNDECIDED, axes=(row.axes[0], replace(row.axes[1], p_a=None))) for row in rows]
    assert {row.outcome for row in on_axis(lost, "kindness", SEED)} == {"undecided"}
    assert {row.outcome for row in on_axis(lost, "harmlessness", SEED)} == {"ok"}
    with pytest.raises(StageError, match=r"preference\.axis: .*'tone'.*harmlessness, kindness"):
        on_axis(rows, "tone", SEED)


def test_the_judge_is_measured_before_anything_is_asked_and_once(tmp_path: Path) -> None:
    measured, engine = [], judge(1.0, 0.3)

    def assess(asked: object) -> dict[str, object]:
        measured.append(len(engine.prompts))
        return {"judge": {"value": 0.8}}

    def refuse(asked: object) -> dict[str, object]:
        raise StageError("too weak")

    bench = Bench(tmp_path)
    with pytest.raises(StageError, match="too weak"):
        work(bench, engine, assess=refuse)
    assert engine.prompts == []

    def dying(prompt: Prompt, option: str) -> float:
        raise Killed

    with pytest.raises(Killed):
        work(bench, ScriptedEngine(choose=dying), assess=assess)
    artefact = work(bench, engine, assess=assess)
    assert measured == [0], "the measure is durable"
    assert artefact.facts["judge_check"] == {"judge": {"value": 0.8}}


@pytest.mark.parametrize("way", ["samples", "judges", "axes", "votes"])
def test_killed_and_resumed_they_give_the_same_bytes(tmp_path: Path, way: str) -> None:
    judges, settings = EVERYWHERE[way](good_letter)
    whole = work(with_axes(tmp_path / "whole"), judges, **settings)
    bench, asked = with_axes(tmp_path / "killed"), 0

    def counted(prompt: Prompt) -> str:
        nonlocal asked
        asked += 1
        if asked == 70:
            raise Killed
        return good_letter(prompt)

    with pytest.raises(Killed):
        work(bench, EVERYWHERE[way](counted)[0], **settings)
    assert work(bench, judges, **settings).hash == whole.hash


def test_pairs_that_failed_have_rows_with_axes_too(tmp_path: Path) -> None:
    rows = [pair_row("cut off", outcome="truncated"), pair_row("fine")]
    artefact = work(with_axes(tmp_path), judge(1, 0), rows=rows, axes={"harmlessness": 1, "kindness": 1})
    failed = next(row for row in artefact.table().to_pylist() if row["p_a"] is None)
    assert {axis["undecided_because"] for axis in failed["axes"]} == {UndecidedReason.FAILED.value}
    assert {told["reasoning_ab"] for told in failed["judgements"]} == {None}
