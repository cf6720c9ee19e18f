"""`solon preference`, `solon score`, `solon serve-pm`, on a tiny model: what they print, and how they fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_cli import run
from tests.training.tiny import asked, said, save_tiny_model

FAST = ("--quiet", "--set", "preference.training.epochs=1", "--set", "preference.training.held_out=0.3")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("commands") / "tiny")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    rows = [{"prompt": asked(f"How {n} ?"), "chosen": said("good"), "rejected": said("bad"), "p_chosen": 0.9}
            for n in range(20)]  # fmt: skip
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_trained_checked_and_asked(
    base: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pm = tmp_path / "pm"
    code, out, err = run(capsys, "preference", pm, "--base", base, "--labels", labels, *FAST)
    assert code == 0, err
    assert "accuracy" in out and "ece" in out and f"Model: {pm / 'model'}" in out
    assert f"solon score --check {pm}" in out
    assert run(capsys, "preference", pm, "--base", base, "--labels", labels, *FAST)[1] == out, "finished, so only read"

    code, out, err = run(capsys, "score", "--check", pm)
    assert (code, err) == (0, "") and "As saved" in out
    code, out, err = run(capsys, "score", labels, "--model", pm)
    scored = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and len(scored) == 20 and all({"score_chosen", "score_rejected"} <= row.keys() for row in scored)
    assert err == "20 of 20 lines scored, 0 too long\n"
    assert run(capsys, "score", labels, "--model", pm / "model", "--output", tmp_path / "scored.jsonl")[0] == 0
    assert (tmp_path / "scored.jsonl").read_text() == out

    golden = pm / "model" / "golden_scores.jsonl"
    first, *rest = golden.read_text().splitlines()
    golden.write_text("\n".join([json.dumps({**json.loads(first), "score": 7.5}), *rest]))
    code, out, _ = run(capsys, "score", "--check", pm)
    assert code == 1 and "NOT as saved" in out


def test_mistakes_are_reported_in_one_line(
    base: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, message in [
        (("preference", tmp_path / "pm", "--base", base, "-q"), "Give --labels FILE, --human FILE or both"),
        (("preference", tmp_path / "pm", "--base", base, "--labels", tmp_path / "none.jsonl", "-q"), "no such"),
        (("preference", tmp_path / "pm", "--base", base / "none", "--labels", labels), "no such model folder"),
        (("score", labels, "--model", base), "score"),
        (("score", labels, "--model", tmp_path / "none"), "no such folder"),
        (("score", tmp_path / "none.jsonl", "--model", base), "no such"),
        (("score", "--check", base), "no golden scores"),
        (("serve-pm", base), "score"),
        (("serve-pm", base, "--token-file", tmp_path / "none"), "cannot read the token: No such file"),
        (("serve-pm", base, "--token-file", labels), "a token must be one word of 8 or more visible ASCII characters"),
    ]:
        code, out, err = run(capsys, *arguments)
        assert (code, out, err.count("\n")) == (1, "", 1), (arguments, err)
        assert err.startswith("Error: ") and message in err, err
    assert run(capsys, "score", labels)[0] == run(capsys, "score", labels, "--check", base)[0] == 2
    named = tmp_path / "human.csv"
    named.write_text("question,good,bad\nHow 1 ?,good,bad\n")
    code, _, err = run(capsys, "preference", tmp_path / "pm", "--base", base, "--human", named, "-q")
    assert code == 1 and "give its name in the file" in err
    assert not (tmp_path / "pm").exists(), "nothing is made for a command line that is wrong"


def test_columns_of_a_csv_are_named_and_useless_rows_are_counted(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, pm = tmp_path / "human.csv", tmp_path / "pm"
    rows = [f"How {n} ?,good,bad" for n in range(12)]
    file.write_text("\n".join(["question,better,worse", *rows, "How 13 ?,same,same", "How 14 ?,good,\u200b", ""]))
    columns = ("--columns", "prompt=question,chosen=better", "--columns", "rejected=worse")
    code, out, err = run(capsys, "preference", pm, "--base", base, "--human", file, *columns, *FAST)
    assert code == 0, err
    assert "Skipped: 1 human comparisons (equal replies)" in out
    assert "Skipped: 1 human comparisons (empty reply)" in out
    code, out, err = run(capsys, "score", file, "--model", pm, *columns)
    scored = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and len(scored) == 14 and scored[0]["question"] == "How 0 ?" and "p_chosen_scored" in scored[0]
