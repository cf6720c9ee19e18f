"""`solon axes` on the bundled models and few pairs: what it prints and writes, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from solon.testbed.world import ReplyKind, ask, load_world, write_reply
from tests.cli.test_cli import run

FAST = (
    "-q", "--constitution", "testbed", "--base", "testbed:pretrained", "--accept-weak-judge",
    "--set", "judge_check.limit=2", "--set", "feedback.form=letter", "--set", "preference.training.epochs=1",
    "--set", "preference.training.held_out=0.4", "--set", "engine.threads=1",
    # On these pairs the judge says nothing about manners.
    "--set", "preference.least_margin=0",
)  # fmt: skip


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    import random

    rng, rows = random.Random(0), []
    for topic in load_world().harmful[:12]:
        replies = [write_reply(topic, kind, rng) for kind in (ReplyKind.OBJECT, ReplyKind.COMPLY)]
        rows.append({"prompt": ask(topic, 0).messages(), "response_a": replies[0], "response_b": replies[1]})
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_axes_are_labelled_trained_and_compared(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code, printed, err = run(capsys, "axes", out, pairs, *FAST)
    assert code == 0, err
    assert "kinds-of-harm" in printed and "Strongest correlations on" in printed
    page = out / "correlations" / "axes.html"
    assert f"Page: {page}" in printed and "src=" not in page.read_text()
    code, printed, err = run(capsys, "axes", out, pairs, *FAST, "--json")
    assert code == 0, err
    found = json.loads(printed)
    assert [each["axis"] for each in found["axes"]] == ["harm", "kinds-of-harm", "manner"]
    assert len(found["cells"]) == 3 and found["pairs"] > 0


def test_mistakes_are_reported_in_one_line(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, one = tmp_path / "out", tmp_path / "one.yaml"
    one.write_text(
        "name: one\nrevision:\n  - {id: r, critique_request: a, revision_request: b}\n"
        "preference:\n  - {id: p, instruction: Choose.}\n"
    )
    base = ("--base", "testbed:pretrained", "-q")
    for arguments, message in [
        ((out, pairs, *base, "--constitution", one), "all on the axis 'harmlessness'"),
        ((out, pairs, *base, "--constitution", "dozen-axis"), "Did you mean 'dozen-axes'?"),
        ((out, tmp_path / "none.jsonl", *base, "--constitution", "testbed"), "no such file of pairs"),
        ((out, tmp_path, *base, "--constitution", "testbed"), "no finished pairs of replies"),
        ((out, pairs, "--base", tmp_path / "none", "--constitution", "testbed"), "no such model folder"),
    ]:
        code, printed, err = run(capsys, "axes", *arguments)
        assert (code, printed, err.count("\n")) == (1, "", 1), (arguments, err)
        assert err.startswith("Error: ") and message in err, err
    assert not out.exists()
