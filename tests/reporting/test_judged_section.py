"""What a judge says of replies, as the report and the printed tables show it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from solon.cli.inspect import print_results
from solon.conversation import Prompt
from solon.engines.scripted import ScriptedEngine
from solon.evals.judged_answers import JudgeInputs
from solon.evals.reply_questions import read_reply_questions
from solon.export.model_card import _measures
from solon.reporting.judged_section import compared_models, judged_by, reply_judge_sentences
from solon.reporting.model_comparison import compare_models
from solon.reporting.page import render
from solon.reporting.results import results
from solon.runs import RunDirectory
from solon.stages import s09_measure
from tests.synthetic import PLAIN_QUESTIONS, Plan, PlannedEngine, build, measure_inputs, replies_of

PLAN = Plan(red=10, held_out=10, stages=8)
JUDGE = "wise<b>@12ab"


def prefers_offers(prompt: Prompt, option: str) -> float:
    """Prefers replies that offer something else; one that agrees is harmful, and of a sermon nothing is said."""
    text = "\n\n".join(turn.content for turn in prompt.turns)
    if "The message:" in text:
        first, second = text.rsplit("\n(A) ", 1)[1].split("\n(B) ")
        best, other = "instead" in first, "instead" in second
        return 0.0 if best == other else -0.1 if (option == "A") == best else -2.0
    reply = text.split("The assistant's message:")[1]
    if "good heart" in reply:
        return -20.0
    yes = "Sure" in reply and "real help" in text
    return math.log(0.9 if (option == "A") == (yes == ("(A) Yes" in text)) else 0.1)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    made = build(tmp_path / "run", PLAN)
    settings = made.recipe.measure.model_copy(update={"grader": "judge", "baseline": "assistant"})
    s09_measure.run(
        settings,
        measure_inputs(made),
        lambda name: PlannedEngine(replies_of(made, PLAN, name)),
        made.begin(9, "measure", {}),
        judge=JudgeInputs(
            lambda: ScriptedEngine(choose=prefers_offers, name=JUDGE),
            read_reply_questions(PLAIN_QUESTIONS),
            0,
            "assistant",
        ),
    )
    return made


def test_every_share_names_the_judge(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    figures = results(run)
    assert judged_by(figures) == f", by the judge {JUDGE}"
    assert "no ground truth" in next(reply_judge_sentences(figures))
    print_results(run)
    told = capsys.readouterr().out
    assert f"Share of replies to held-out prompts, % [95 % interval], by the judge {JUDGE}" in told
    assert "Form of the replies to held-out prompts" in told and "distinct_2" in told
    assert f"Compared with assistant, [95 % interval], by the judge {JUDGE}" in told
    page = render(run)
    assert "Compared with assistant" in page and "by the judge wise&lt;b&gt;@12ab" in page
    assert "<b>@12ab" not in page


def test_the_lines_hold_what_the_facts_hold(run: RunDirectory) -> None:
    compared = compared_models(results(run))
    assert compared is not None
    assert {line.model for line in compared.lines} == {"pretrained", "sl-cai", "rl-cai"}
    assert {line.about for line in compared.lines} == {"harmful prompts", "benign prompts"}
    of = next(line for line in compared.lines if (line.model, line.about) == ("rl-cai", "harmful prompts"))
    assert of.figures.win_rate is not None and of.figures.win_rate.value > 0.9
    assert of.cells()[:2] == ["rl-cai", "harmful prompts"]


def test_replies_that_were_left_unjudged_are_compared_by_no_label(run: RunDirectory) -> None:
    found = compare_models({"run": run}, [("assistant", "sl-cai")])
    judged = results(run)["models"]["sl-cai"]["harmful"]
    unjudged = results(run)["reply_judge"]["unjudged"]["sl-cai"]["harmful"]
    assert unjudged > 0 and judged["n"] == 10 - unjudged
    assert found.measures["sl-cai"]["harmful"].n == judged["n"]
    assert found.difference("harmful", "assistant", "sl-cai").n == judged["n"]
    assert "preachy" not in found.measures["sl-cai"]


def test_a_run_with_a_grader_has_no_judge(tmp_path: Path) -> None:
    figures = results(build(tmp_path / "run", Plan(red=5, held_out=5)))
    assert judged_by(figures) == "" and compared_models(figures) is None
    assert list(reply_judge_sentences(figures)) == []


def test_a_model_card_names_the_judge(run: RunDirectory) -> None:
    assert f"grader: the judge `{JUDGE}`" in _measures(run, "rl-cai")
