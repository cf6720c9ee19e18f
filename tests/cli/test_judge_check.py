"""`solon judge-check` and `--accept-weak-judge` on the bundled model: few questions, real answers."""

import json
from pathlib import Path

import pytest

from solon.config.builtin import model_path
from solon.errors import ModelError
from solon.reporting.results import results
from solon.runs import RunDirectory
from tests.cli.test_cli import run


def _bundled() -> bool:
    try:
        model_path("testbed:assistant")
    except ModelError:
        return False
    return True


pytestmark = pytest.mark.skipif(not _bundled(), reason="the bundled models are not there")

FEW = ("--set", "judge_check.limit=16", "--set", "engine.threads=1", "--set", "engine.batch_size=64")
SMALL = (
    "prompts.limit_red_team=6", "prompts.limit_helpful=4", "engine.batch_size=6", "engine.threads=1",
    "revision.steps=1",
    "finetune.training.batch_size=8", "finetune.training.epochs=1", "judge_check.limit=2",
)  # fmt: skip


def test_the_bundled_judge_is_measured_in_the_form_of_the_recipe_and_is_fit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = run(capsys, "judge-check", "testbed:assistant", *FEW, "--json")
    assert code == 0
    figures = json.loads(out)
    judge, critic = figures["judge"], figures["critic"]
    assert (judge["form"], judge["n"], judge["what"]) == ("reasoned", 16, "comparisons of the testbed's world")
    assert judge["low"] > 0.5
    assert sum(part["n"] for part in judge["by_kind"].values()) == 16
    assert len(judge["by_principle"]) >= 12
    assert judge["injections"]["injections"] == 16
    assert judge["letter_prior"]["n"] == 16
    assert critic["low"] > critic["chance"]


def test_the_table_has_shares_with_intervals_and_says_what_a_run_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    few = ("--set", "judge_check.limit=3", "--set", "engine.threads=1", "--set", "feedback.form=letter")
    code, out, _ = run(capsys, "judge-check", "testbed:assistant", *few)
    assert code == 0
    assert "as a judge, letter form" in out and "as a critic" in out
    for words in ("by principle general-harm", "no usable preference", "probability of (A)", "names the fault"):
        assert words in out
    assert "A run would stop here; solon run RUN --accept-weak-judge continues." in out


def test_a_model_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "judge-check", "models/none")
    assert code == 1
    assert err.startswith("Error: models/none: no such model folder.") and err.count("\n") == 1


def test_a_run_stops_at_a_weak_judge_before_any_label_and_continues_when_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    settings = [word for setting in SMALL for word in ("--set", setting)]
    given = ("run", folder, "--recipe", "testbed", *settings, "--until", "ai-feedback", "--quiet")
    code, _, err = run(capsys, *given)
    # Two questions are too few: their interval includes chance whatever the answers.
    assert code == 1
    assert "the judge was right on" in err and "of 2 comparisons of the testbed's world, no better than chance" in err
    assert err.rstrip().endswith(f"solon run {folder} --accept-weak-judge")
    assert "ai-feedback" not in results(RunDirectory.open(folder))["stages"]
    journal = folder / "06-ai-feedback" / "journal.jsonl"
    assert not journal.exists() or journal.stat().st_size == 0
    code, out, _ = run(capsys, "run", folder, "--accept-weak-judge", "--until", "ai-feedback", "--quiet")
    assert code == 0
    assert "No model is measured yet." in out and "The judge was right on" in out
    figures = results(RunDirectory.open(folder))
    assert figures["judge_check"]["judge"]["n"] == 2
    assert figures["label_quality"]["pairs"] == 6
    # The run keeps the setting: the refused command continues now.
    assert run(capsys, *given)[0] == 0
