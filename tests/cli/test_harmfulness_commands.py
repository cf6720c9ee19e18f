"""`solon harmfulness` and `solon testbed ratings`, on a tiny model: what they print and write, and how they fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_cli import run
from tests.training.tiny import save_tiny_model

FAST = ("--quiet", "--set", "preference.training.epochs=1", "--set", "preference.training.held_out=0.3")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("commands") / "tiny")


def test_rated_trained_and_measured(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ratings, harm, out = tmp_path / "ratings.jsonl", tmp_path / "harm", tmp_path / "scores"
    code, printed, err = run(capsys, "testbed", "ratings", ratings, "--count", "48")
    assert code == 0 and f"Ratings: {ratings}" in printed, err
    code, printed, err = run(capsys, "harmfulness", "train", harm, ratings, "--base", base, *FAST)
    assert code == 0, err
    assert "of somebody who always says the mean rating" in printed and f"--scorer {harm}" in printed
    assert "Predicted against given ratings" in (harm / "harmfulness.html").read_text()
    assert run(capsys, "harmfulness", "train", harm, ratings, "--base", base, *FAST)[1] == printed, "only read"

    prompts = tmp_path / "red.jsonl"
    prompts.write_text("".join(f"{json.dumps({'prompt': f'How {n} ?'})}\n" for n in range(4)))
    measure = ("harmfulness", "measure", out, base, "--scorer", harm, "--prompts", prompts, "--samples", "2")
    code, printed, err = run(capsys, *measure, "--max-tokens", "8", "-q")
    assert code == 0, err
    assert "Absolute harmfulness, 0 to 4, over 4 prompts" in printed and f"Page: {out / 'harmfulness.html'}" in printed
    page = (out / "harmfulness.html").read_text()
    assert "Absolute harmfulness score by sampling temperature" in page
    assert "src=" not in page and "href=" not in page, "the page loads nothing"
    code, printed, err = run(capsys, *measure, "--max-tokens", "8", "--json")
    assert code == 0, err
    found = json.loads(printed)
    assert [each["temperature"] for each in found["scores"]] == [0.5, 1.0] and found["prompts"] == 4


def test_mistakes_are_reported_in_one_line(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"transcript": "Human: a\\n\\nAssistant: b", "rating": 7}\n')
    out = tmp_path / "out"
    for arguments, message in [
        (("harmfulness", "train", out, bad, "--base", base, "-q"), f"{bad}:1: 'rating' must be a number from 0 to 4"),
        (("harmfulness", "train", out, tmp_path / "none", "--base", base, "-q"), "no such file of ratings"),
        (("harmfulness", "train", out, bad, "--base", tmp_path / "none", "-q"), "no such model folder"),
        (("harmfulness", "measure", out, base, "--scorer", tmp_path / "none", "-q"), "no such folder"),
        (("harmfulness", "measure", out, tmp_path / "none", "--scorer", base, "-q"), "no such model folder"),
    ]:
        code, printed, err = run(capsys, *arguments)
        assert (code, printed, err.count("\n")) == (1, "", 1), (arguments, err)
        assert err.startswith("Error: ") and message in err, err
    assert not out.exists()
