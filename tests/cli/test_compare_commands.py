"""`solon compare` and `solon elo`: a judge's votes, the page from start to Ctrl-C, ratings, and how they fail."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from solon.comparisons import page_service
from solon.comparisons.vote_store import VOTES
from tests.cli.test_cli import run
from tests.training.tiny import save_tiny_model

PAGE = all(importlib.util.find_spec(name) for name in page_service.NEEDED)
FEW = ("--count", "3", "--max-tokens", "8", "--threads", "1", "-q")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("compared")
    one, two = save_tiny_model(folder / "one"), save_tiny_model(folder / "two", seed=5)
    return f"one={one}", f"two={two}"


def test_an_oracle_compares_and_the_ratings_follow(
    models: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out_folder = tmp_path / "votes"
    code, out, err = run(capsys, "compare", *models, "--judge", "oracle", "--out", out_folder, *FEW)
    assert code == 0, err
    assert f"6 votes: {out_folder / VOTES}" in out and "6 votes are no comparison (by an oracle)" in out
    assert run(capsys, "compare", *models, "--judge", "oracle", "--out", out_folder, *FEW)[1] == out, "nothing is added"
    assert run(capsys, "compare", "--export", "--out", out_folder)[1] == out
    code, out, _ = run(capsys, "elo", out_folder, "--replicates", "20")
    assert code == 0 and "Helpfulness: 3 votes (oracle 3)" in out and "Harmlessness: 3 votes (oracle 3)" in out
    assert re.search(r"^  one +0 +- +50.0 +3$", out, re.M), "tiny models only write garbled text: all ties"
    code, out, _ = run(capsys, "elo", out_folder / "votes.jsonl", "--anchor", "two", "--anchor-at", "1000", "--json")
    found = json.loads(out)
    assert [each["mode"] for each in found] == ["helpfulness", "harmlessness"]
    assert found[0]["ratings"][0]["elo"] == 1000 and found[0]["pairs"][0]["ties"] == 3


def test_a_model_compares_by_a_principle_of_ones_own(
    models: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "mine.jsonl"
    prompts.write_text('{"prompt": "Tell me ?"}\n{"prompt": "How ?"}\n')
    own = ("--mode", "helpfulness", "--principle", "Which is good ?", "--prompts", prompts, "--turns", "2")
    judged = ("--judge", "testbed:assistant", "--out", tmp_path / "out")
    code, out, err = run(capsys, "compare", *models, *judged, *own, *FEW)
    assert code == 0, err
    records = [json.loads(line) for line in (tmp_path / "out/votes.jsonl").read_text().splitlines()]
    assert len(records) == 6 and {record["judged_by"] for record in records} == {"model"}
    assert {record["judge"].partition("@")[0] for record in records} == {"assistant"}
    assert all(0 < record["p_a"] < 1 for record in records)
    assert {record["source"].rpartition(":")[0] for record in records} == {str(prompts)}
    decided = sum(record["preferred"] in ("a", "b") for record in records)
    assert not decided or f"{decided} comparisons to learn from: {tmp_path / 'out/helpfulness-by-model.jsonl'}" in out


def test_an_oracle_casts_no_vote_on_prompts_that_it_does_not_know(
    models: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "mine.jsonl"
    prompts.write_text('{"prompt": "Tell me about tea"}\n{"prompt": "How do I bake?"}\n')
    judged = ("--judge", "oracle", "--out", tmp_path / "out", "--prompts", f"helpfulness={prompts}")
    code, out, err = run(capsys, "compare", *models, *judged, *FEW)
    assert (code, out) == (1, "") and not (tmp_path / "out").exists()
    assert re.match(rf"Error: {re.escape(str(prompts))}:1: the oracle does not know 2 of \d+ prompts", err), err
    assert "Leave --prompts out, or name a model" in err


def test_mistakes_are_reported_in_one_line(
    models: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = ("--judge", "oracle", "--out", tmp_path / "out")
    file = tmp_path / "votes.jsonl"
    file.write_text('{"mode": "helpfulness", "model_a": "x", "model_b": "y", "preferred": "a"}\n')
    for arguments, message in [
        (("compare", models[0], *judged), "two models or more"),
        (("compare", models[0], "missing=models/none", *judged), "no such model folder"),
        (("compare", *models, "--prompts", tmp_path / "none.jsonl", *judged), "no such prompt file"),
        (("compare", "--export", "--out", tmp_path / "out"), "no file of votes"),
        (("elo", tmp_path / "none"), "no such file of votes"),
        (("elo", tmp_path), "no file of votes"),
        (("elo", file, "--anchor", "z"), "no vote is on the model 'z'"),
        (("elo", file, "--judged-by", "model"), "no vote is by model: 1 by person"),
        (("elo", file, "--judge", "z"), "no vote is by 'z': 1 by person"),
    ]:
        code, out, err = run(capsys, *arguments)
        assert (code, out, err.count("\n")) == (1, "", 1), (arguments, err)
        assert err.startswith("Error: ") and message in err, err
    assert run(capsys, "compare", *models, "--principle", "x", "--out", tmp_path / "out")[0] == 2
    assert run(capsys, "compare", *models, "--export", "--out", tmp_path / "out")[0] == 2
    assert not (tmp_path / "out").exists(), "nothing is made for a command line that is wrong"
    code, _, err = run(capsys, "elo", file, "--anchor-at", "1000")
    assert code == 2 and "--anchor-at is the rating of the --anchor" in err
    code, out, err = run(capsys, "elo", file, "--replicates", "20")
    assert code == 0 and err.startswith("Warning: No finite rating of x, y") and "x   " in out


def test_the_two_tables_round_a_win_rate_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """63.75 % and 36.25 %: one minus the first is a little more than 36.25 %."""
    file = tmp_path / "votes.jsonl"
    line = '{"mode": "helpfulness", "model_a": "x", "model_b": "y", "preferred": "%s"}\n'
    file.write_text(line % "a" * 51 + line % "b" * 29)
    out = run(capsys, "elo", file, "--replicates", "20")[1]
    assert re.findall(r"^  y .*?(\d\d\.\d)", out, re.M) == ["36.2", "36.2"], out


def test_without_its_packages_the_page_says_what_to_install(
    models: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_service, "NEEDED", ("starlette_that_is_not_there", "uvicorn_neither"))
    code, _, err = run(capsys, "compare", *models, "--out", tmp_path / "out")
    assert code == 1 and "pip install 'solon[compare]'" in err
    assert run(capsys, "compare", *models, "--judge", "oracle", "--out", tmp_path / "out", *FEW)[0] == 0


@pytest.mark.slow
@pytest.mark.skipif(not PAGE, reason="starlette and uvicorn are an extra")
def test_the_page_is_served_until_ctrl_c(models: tuple[str, str], tmp_path: Path) -> None:
    line = [sys.executable, "-m", "solon.cli", "compare", *models, "--out", str(tmp_path / "out"), "--threads", "1"]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as process:
        assert process.stdout is not None
        opened = re.fullmatch(r"Open (http://127\.0\.0\.1:\d+/[\w-]{24}/)\n", process.stdout.readline())
        assert opened
        with urllib.request.urlopen(opened[1]) as answer:
            assert b"Compare two assistants" in answer.read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.startswith(f"0 votes: {tmp_path / 'out' / VOTES}") and "Traceback" not in err


def test_names_from_a_file_reach_the_terminal_without_escapes_and_short(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names are headings of the matrix of win rates, first cells, and parts of warnings."""
    file = tmp_path / "votes.jsonl"
    names = ("\x1b[2Jwiped\x1b]0;title\x07", "n" * 200_000 + "/end")
    rows = [
        {"mode": "helpfulness", "model_a": names[0], "model_b": names[1], "preferred": "a", "judge": names[1]},
        {"mode": "helpfulness", "model_a": names[0], "model_b": names[1], "preferred": "a", "judged_by": "oracle"},
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    code, out, err = run(capsys, "elo", file, "--replicates", "20")
    assert code == 0 and "\x1b" not in out + err and "\x07" not in out + err
    head = next(line for line in out.splitlines() if line.startswith("    ") and "/end" in line)
    assert "wiped" in head and "n…n" in head, "the heading of the matrix"
    assert len(out) < 2000 and err.startswith("Warning: ") and len(err) < 3 * 1100
