"""`solon reproduce` checks its options before anything is trained, and prints its plan."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from solon.cli.main import cli
from solon.errors import InputError, RecipeError


def test_the_plan_is_printed_and_nothing_is_made(tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = CliRunner().invoke(cli, ["reproduce", "--plan", "--size", "small", "--out", str(out)])
    assert found.exit_code == 0 and not out.exists()
    for name in ("rl-cai-cot", "rl-cai-letter", "helpful-rlhf", "hh-rlhf", "sl-cai-3", "principles-8"):
        assert name in found.output


def test_a_bad_setting_or_folder_of_judges_stops_at_once(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    found = CliRunner().invoke(cli, ["reproduce", "--out", out, "--set", "rl.setps=1"])
    assert isinstance(found.exception, RecipeError) and "rl.setps" in str(found.exception)
    found = CliRunner().invoke(cli, ["reproduce", "--out", out, "--judges", str(tmp_path)])
    assert isinstance(found.exception, InputError) and not (tmp_path / "out").exists()
