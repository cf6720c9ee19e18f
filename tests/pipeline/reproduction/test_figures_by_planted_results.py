"""Figures from planted results: what was planted as the paper claims holds, and what was planted against it fails."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from solon.comparisons.elo_ratings import EloSettings, elo_differences, elo_ratings
from solon.comparisons.vote_rows import JudgedBy, Preferred, RatedVote, VoteMode
from solon.conversation import Conversation, Role, Turn
from solon.errors import InputError
from solon.pipeline.reproduction.elo_figures import EloFindings, figure_2, figure_3, figure_8, middle_and_last
from solon.pipeline.reproduction.harm_figure import HarmFindings, figure_10
from solon.pipeline.reproduction.judge_figures import (
    JudgeFindings,
    calibration_error,
    figure_4,
    figure_9,
    figure_12,
)
from solon.pipeline.reproduction.paper_figures import PaperFigure
from solon.pipeline.reproduction.real_judges import RealJudge, read_real_judges
from solon.pipeline.reproduction.revision_figures import RevisionFindings, figure_5, figure_6, figure_7
from solon.runs.harmfulness_rows import HarmfulnessRow
from solon.runs.outcome import Outcome
from solon.runs.reproduction_rows import JudgeAnswerRow, RevisionScoreRow
from solon.stats.claim_verdicts import ClaimVerdict

HOLDS, FAILS = ClaimVerdict.HOLDS, ClaimVerdict.FAILS
POLICIES = ("helpful-rlhf", "hh-rlhf", "rl-cai-letter", "rl-cai-cot")
COURSES = {
    run: [(0, "sl-cai-4" if run.startswith("rl-cai") else "pretrained"), *((s, f"{run}-step-{s}") for s in (4, 8))]
    for run in POLICIES
}
HELP, HARMLESS = VoteMode.HELPFULNESS, VoteMode.HARMLESSNESS
AS_CLAIMED: Mapping[VoteMode, Mapping[str, float]] = {
    HELP: {
        "pretrained": -4, "sl-cai-4": -2, "helpful-rlhf-step-4": 1, "helpful-rlhf-step-8": 2.5, "hh-rlhf-step-4": 0,
        "hh-rlhf-step-8": 0.5, "rl-cai-letter-step-4": 1, "rl-cai-letter-step-8": 2.2, "rl-cai-cot-step-4": 0.8,
        "rl-cai-cot-step-8": 1.2,
    },
    HARMLESS: {
        "pretrained": -3, "sl-cai-4": -0.6, "helpful-rlhf-step-4": -1, "helpful-rlhf-step-8": -2.2,
        "hh-rlhf-step-4": 1.6, "hh-rlhf-step-8": 0.4, "rl-cai-letter-step-4": 0.5, "rl-cai-letter-step-8": 1.8,
        "rl-cai-cot-step-4": 1, "rl-cai-cot-step-8": 2.9,
    },
}  # fmt: skip
"""Strengths in log-odds."""


def votes(strengths: Mapping[VoteMode, Mapping[str, float]], each: int = 6000) -> list[RatedVote]:
    draws, found = random.Random(0), []
    for mode, by_model in strengths.items():
        for _ in range(each):
            a, b = draws.sample(sorted(by_model), 2)
            wins = draws.random() < 1 / (1 + math.exp(by_model[b] - by_model[a]))
            preferred = Preferred.A if wins else Preferred.B
            found.append(
                RatedVote(mode=mode, model_a=a, model_b=b, preferred=preferred, judged_by=JudgedBy.ORACLE)
            )  # fmt: skip
    return found


def elo(strengths: Mapping[VoteMode, Mapping[str, float]]) -> EloFindings:
    return EloFindings.of(votes(strengths), COURSES, "sl-cai-4", EloSettings("pretrained", replicates=60))


def verdicts(figure: PaperFigure) -> set[ClaimVerdict]:
    return {check.verdict for check in figure.checks}


def test_elo_planted_as_claimed_holds_and_planted_the_other_way_does_not() -> None:
    claimed = elo(AS_CLAIMED)
    turned = elo({mode: {name: -value for name, value in by.items()} for mode, by in AS_CLAIMED.items()})
    for draw, checks in ((figure_2, 4), (figure_3, 14), (figure_8, 6)):
        assert len(draw(claimed).checks) == checks
        assert draw(claimed).verdict is HOLDS, [(c.says, c.verdict) for c in draw(claimed).checks]
        assert draw(turned).verdict is FAILS
        assert all(plot.lines for plot in draw(claimed).plots)
    assert verdicts(figure_3(turned)) == {FAILS}


def test_a_difference_is_that_of_the_ratings_and_has_its_own_interval() -> None:
    cast, settings = votes(AS_CLAIMED, 800), EloSettings(replicates=200)
    ratings = {each.mode: {one.model: one for one in each.ratings} for each in elo_ratings(cast, settings)}
    pair = ("rl-cai-cot-step-8", "hh-rlhf-step-8")
    found = elo_differences(cast, [pair, ("pretrained", "unheard-of")], settings)
    assert set(found) == {(mode, *pair) for mode in VoteMode}
    for (mode, one, other), difference in found.items():
        assert difference.value == pytest.approx(ratings[mode][one].elo - ratings[mode][other].elo)
        assert difference.low < difference.value < difference.high
    # The interval of a rating from the same votes with the other model as the anchor is that of the difference.
    anchored = elo_ratings(cast, EloSettings("hh-rlhf-step-8", replicates=200))
    own = next(each for each in anchored[0].ratings if each.model == "rl-cai-cot-step-8")
    assert (own.low, own.high) == pytest.approx((found[HELP, *pair].low, found[HELP, *pair].high))


def test_models_that_no_votes_join_have_no_difference() -> None:
    cast = [
        RatedVote(mode=HELP, model_a=a, model_b=b, preferred=preferred)
        for a, b in (("one", "two"), ("three", "four"))
        for preferred in (Preferred.A, Preferred.B)
    ]
    found = elo_differences(cast, [("one", "two"), ("one", "three")], EloSettings(replicates=20))
    assert set(found) == {(HELP, "one", "two")}


def test_late_training_begins_at_the_middle_snapshot() -> None:
    course = [(step, str(step)) for step in (0, 4, 8, 12, 16)]
    assert middle_and_last(course) == ((8, "8"), (16, "16"))
    assert middle_and_last(course[:2]) == ((4, "4"), (4, "4"))


def revisions(means: Mapping[str, tuple[float, ...]], prompts: int = 80) -> RevisionFindings:
    """Runs whose scores at each step have the given means, and whose share of harm falls as the score rises."""
    draws = random.Random(1)
    rows = []
    for prompt in range(prompts):
        base = draws.gauss(0, 1)
        for run, by_step in means.items():
            for step, mean in enumerate(by_step):
                score = base + mean + (draws.gauss(0, 0.2) if step else 0.0)
                rows.append(RevisionScoreRow(run=run, step=step, row_id=str(prompt), score=score,
                                             harmful=prompt / prompts > mean / 8 + 0.1))  # fmt: skip
    return RevisionFindings.of(rows, 16)


NUMBERED = {f"principles-{n}": (0.0, 1.0, 2.0, 3.0, 4.0) for n in (1, 2, 4, 8)}
RISING = {"rl-cai-cot": (0.0, 1.0, 2.0, 3.0, 4.0), "direct-revisions": (0.0, 0.5, 1.0, 1.5, 2.0), **NUMBERED}


def test_revisions_that_rise_hold_and_revisions_that_fall_do_not() -> None:
    found = revisions(RISING)
    assert len(figure_5(found).checks) == 8 and figure_5(found).verdict is HOLDS
    assert figure_6(found).verdict is HOLDS and len(figure_6(found).checks) == 8
    assert figure_7(found).verdict is HOLDS
    changed = revisions({
        **RISING,
        "rl-cai-cot": (4.0, 3.0, 2.0, 1.0, 0.0),
        "direct-revisions": (4.0, 3.5, 3.0, 2.5, 2.0),
    })  # fmt: skip
    assert verdicts(figure_5(changed)) == verdicts(figure_6(changed)) == verdicts(figure_7(changed)) == {FAILS}


def test_only_prompts_that_both_sides_have_are_compared() -> None:
    found = revisions(RISING)
    last = dict(found.cells["rl-cai-cot", 4])
    last.pop("0")
    last["only here"] = RevisionScoreRow(run="rl-cai-cot", step=4, row_id="only here", score=-1e9, harmful=True)
    assert figure_7(RevisionFindings({**found.cells, ("rl-cai-cot", 4): last}, 16)).verdict is HOLDS


def answers(judge: str, form: str, right: float, sure: float = 0.8, count: int = 200) -> list[JudgeAnswerRow]:
    """A judge that is right on the first share of the questions, always with the same confidence."""
    return [
        JudgeAnswerRow(judge=judge, form=form, question=n, kind="harm", better_is_a=n % 2 == 0,
                       p_a=sure if (n < right * count) == (n % 2 == 0) else 1 - sure, right=n < right * count)
        for n in range(count)
    ]  # fmt: skip


def judges(letter: float, reasoned: float, several: float, real: tuple[RealJudge, ...] = ()) -> JudgeFindings:
    rows = [
        *answers("assistant", "letter", letter), *answers("assistant", "reasoned", reasoned),
        *answers("assistant", "several-reasoned", several), *answers("hh-rlhf", "preference-model", 0.9),
    ]  # fmt: skip
    return JudgeFindings.of(rows, real, 200, 0)


def test_judges_that_gain_by_reasoning_hold() -> None:
    assert figure_4(judges(0.7, 0.8, 0.95)).verdict is HOLDS
    assert verdicts(figure_4(judges(0.8, 0.7, 0.6))) == {FAILS}
    assert figure_4(judges(0.8, 0.8, 0.8)).checks[0].verdict is ClaimVerdict.UNCLEAR


def test_calibration_is_judged_by_the_interval_of_its_error() -> None:
    assert figure_9(judges(0.8, 0.8, 0.8)).verdict is HOLDS  # 80 % sure, 80 % right
    assert figure_9(judges(0.4, 0.8, 0.8)).verdict is FAILS
    error = calibration_error(answers("assistant", "letter", 0.5, sure=0.9), 200, 0)
    assert error is not None and error.value == pytest.approx(0.4, abs=1e-9) and error.low < 0.4 < error.high
    assert calibration_error([], 200, 0) is None


def judged(model: str, form: str, right: float, n: int = 400) -> dict[str, object]:
    share = {"value": right, "low": right - 0.04, "high": right + 0.04, "n": n}
    return {"model": model, "form": form, "settings": [], "judge": {**share, "chance": 0.5, "by_kind": {"harm": share}}}


def test_real_judges_come_from_files_and_the_largest_counts(tmp_path: Path) -> None:
    for number, (model, form, right) in enumerate([
        ("qwen2.5-coder-1.5b", "zero-shot", 0.6), ("qwen2.5-coder-1.5b", "reasoned", 0.8),
        ("qwen2.5-coder-1.5b", "few-shot", 0.75), ("smollm2-135m", "zero-shot", 0.6), ("smollm2-135m", "reasoned", 0.4),
    ]):  # fmt: skip
        (tmp_path / f"{number}.json").write_text(json.dumps(judged(model, form, right)))
    real = tuple(read_real_judges(tmp_path))
    assert [each.size for each in real] == [135, 135, 1500, 1500, 1500]
    found = judges(0.7, 0.8, 0.95, real)
    assert figure_4(found).checks[-1].says.endswith("qwen2.5-coder-1.5b") and figure_4(found).verdict is HOLDS
    assert figure_12(found).verdict is HOLDS and len(figure_12(found).checks) == 2
    assert figure_12(judges(0.7, 0.8, 0.9)).verdict is ClaimVerdict.NOT_SHOWN


def test_a_folder_without_measured_judges_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no measured judge"):
        read_real_judges(tmp_path)
    (tmp_path / "other.json").write_text('{"model": "x"}')
    with pytest.raises(InputError, match="not a measured judge"):
        read_real_judges(tmp_path)


def harm(by_model: Mapping[str, float]) -> HarmFindings:
    prompt = Conversation((Turn(Role.HUMAN, "How?"),))
    rows = [
        HarmfulnessRow(model=model, temperature=1.0, row_id=str(p), sample=s, prompt=prompt, completion="r",
                       finish="stop", seed=0, outcome=Outcome.OK,
                       harmfulness=None if s == 2 else value + p / 40 + s / 10)
        for model, value in by_model.items() for p in range(30) for s in range(3)
    ]  # fmt: skip
    return HarmFindings.of(rows, COURSES)


def test_harmfulness_over_training() -> None:
    start = {"pretrained": 2.0, "sl-cai-4": 1.0}
    lower = {f"{run}-step-{step}": 0.5 for run in POLICIES[1:] for step in (4, 8)}
    claimed = harm({**start, **lower, "helpful-rlhf-step-4": 2.5, "helpful-rlhf-step-8": 3.0})
    assert figure_10(claimed).verdict is HOLDS
    assert figure_10(claimed).checks[0].found.value == pytest.approx(1.0)
    higher = {f"{run}-step-8": 3.5 for run in POLICIES[1:]}
    assert verdicts(figure_10(harm({**start, **higher, "helpful-rlhf-step-8": 1.0}))) == {FAILS}
