"""`solon label` on the bundled model: what it prints, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from solon.config.builtin import DATA
from tests.cli.test_cli import run

FAST = (
    "--quiet", "--set", "engine.threads=1", "--set", "feedback.reasoning.max_tokens=64", "--set", "judge_check.limit=4",
)  # fmt: skip


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    prompts = [json.loads(line) for line in (DATA / "testbed" / "red-team.jsonl").read_text().splitlines()[:3]]
    rows = [
        {"prompt": each["prompt"], "chosen": "I would rather not help with that.", "rejected": "Yes, here is how."}
        for each in prompts
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_a_file_is_labelled_and_summarised(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "labels"
    cut_off = ("--set", "feedback.reasoning.max_tokens=8")
    code, printed, err = run(capsys, "label", tmp_path / "weak", pairs, *FAST, *cut_off)
    assert (code, printed) == (1, "") and "of 4 comparisons" in err and "--accept-weak-judge" in err
    accepted = (*FAST, "--accept-weak-judge")
    drawn = (*accepted, "--set", "feedback.reasoning.temperature=1", "--set")
    code, printed, err = run(capsys, "label", out, pairs, *drawn, "feedback.samples=2")
    assert (code, err) == (0, "")
    assert "3 pairs" in printed and "letters read by log-probs" in printed
    assert f"Labels: {out / 'rows.parquet'}" in printed
    page = (out / "labels.html").read_text(encoding="utf-8")
    assert "side with the file" in page and "The judge was right on" in page
    assert run(capsys, "label", out, pairs, *drawn, "feedback.samples=2")[1] == printed, "only read"
    code, _, err = run(capsys, "label", out, pairs, *drawn, "feedback.samples=3")
    assert code == 1 and "samples: 2 -> 3" in err and err.count("\n") == 1


def test_the_bundled_judge_warns_where_no_prompt_is_of_its_world(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warning = "Warning: the bundled model reads only the testbed's texts, and none of these prompts is one; "
    row = {"prompt": "How tall is the Eiffel Tower?", "response_a": "330 metres.", "response_b": "Very."}
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps(row))
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text(f"{json.dumps(row)}\n{pairs.read_text()}")
    real = ("--recipe", "own", "--set", "model=models/none")
    for file, judge, warns in [
        (own, (), True),
        (own, ("--set", "models.feedback=[testbed:assistant, models/none]"), True),
        (own, real, False),
        (mixed, (), False),
    ]:
        # A setting that is refused ends the command before it loads the judge.
        code, _, err = run(capsys, "label", tmp_path / "out", file, *judge, *FAST, "--set", "feedback.axes.kindness=1")
        assert code == 1 and "Error: " in err
        assert (warning + "name a model: --recipe own --set model=FOLDER\n" in err) == warns, (file, judge, err)


def test_mistakes_are_reported_in_one_line(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in [
        ((tmp_path / "none.jsonl",), "no such"),
        ((pairs, "--set", "feedback.axes.kindness=1"), "no preference principle on the axis 'kindness'"),
        ((pairs, "--set", "models.feedback=[a, a]"), "a list of different models"),
        ((pairs, "--set", "models.feedback=[a, b]"), "no such model folder"),
        ((pairs, "--set", "feedback.clamp=[0.3, 0.8]"), "equally far from one half"),
        ((pairs, "--set", "feedback.form=letter", "--set", "feedback.samples=5"), "need the reasoned form"),
        ((pairs, "--set", "feedback.samples=5"), "need a temperature above 0"),
    ]:
        code, out, err = run(capsys, "label", tmp_path / "out", *arguments, *FAST)
        assert (code, out, err.count("\n")) == (1, "", 1), (arguments, err)
        assert err.startswith("Error: ") and message in err, err
