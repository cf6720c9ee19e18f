"""`solon export trl` from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.test_cli import run as solon
from tests.export.trainers.made import finished


def test_a_run_is_exported_by_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(tmp_path / "made")
    code, out, _ = solon(capsys, "export", "trl", run.path, tmp_path / "out", "--steps", "3")
    assert code == 0, out
    assert "Prompts: 12 for training, 8 held out, 1 excluded (too long)" in out
    assert f"python {tmp_path / 'out' / 'check_folder.py'}" in out
    code, _, err = solon(capsys, "export", "trl", run.path, tmp_path / "out")
    assert code == 1 and "the folder is not empty" in err
    url = "http://10.0.0.5:8000"
    code, _, _ = solon(capsys, "export", "trl", run.path, tmp_path / "served", "--reward", "server", "--url", url)
    assert code == 0 and f'"url": "{url}"' in (tmp_path / "served" / "reward.json").read_text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--reward", "server"], "--reward server needs --url"),
        (["--url", "http://10.0.0.5:8000"], "--url needs --reward server"),
        (["--reward", "server", "--url", "10.0.0.5:8000"], "http:// or https://"),
        (["--steps", "0"], "--steps"),
    ],
)
def test_options_that_do_not_fit_are_a_wrong_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    code, _, err = solon(capsys, "export", "trl", tmp_path / "run", tmp_path / "out", *given)
    assert code == 2 and message in err


@pytest.mark.parametrize("trainer", ["openrlhf", "verl"])
def test_other_trainers_are_refused_with_one_line_that_names_the_description(
    trainer: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = solon(capsys, "export", trainer, tmp_path / "run", tmp_path / "out")
    assert code == 2 and len(err.splitlines()) == 1, err
    assert f"no export to {trainer}. docs/trainers.md describes" in err and "solon export trl" in err
