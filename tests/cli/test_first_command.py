"""A new user's first commands: a refused one leaves no folder, the demo is one word, a finished run prints fast."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from solon.pipeline.settled import settle
from tests.cli.test_cli import run
from tests.synthetic import Plan, build

SMALL = ("prompts.limit_red_team=4", "prompts.limit_helpful=2", "measure.limit=2", "engine.threads=1")


def words(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


@pytest.mark.parametrize(
    "wrong",
    [
        "models.feedback=/nowhere",
        "prompts.red_team=/nowhere.jsonl",
        "rl.scorer=http://127.0.0.1:9",
        "prompts.red_team={here}/broken.jsonl",
        "preference.human_helpfulness={here}/broken.jsonl",
        "prompts.too_long=refuse;engine.window=64",
    ],
)
def test_a_refused_first_command_leaves_no_folder(
    wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.jsonl").write_text("{broken\n")
    settings = wrong.format(here=tmp_path).split(";")
    code, out, err = run(capsys, "run", tmp_path / "run", "--recipe", "testbed", "--quiet", *words(*SMALL, *settings))
    assert (code, out) == (1, "")
    assert err.count("\n") == 1 and err.startswith("Error: "), err
    assert not (tmp_path / "run").exists()


def test_the_corrected_command_goes_on_in_the_same_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["run", tmp_path / "run", "--recipe", "testbed", "--until", "responses", "--quiet", *words(*SMALL)]
    assert run(capsys, *line, "--set", "prompts.red_team=/nowhere.jsonl")[0] == 1
    code, _, err = run(capsys, *line)
    assert (code, err) == (0, "")
    assert (tmp_path / "run" / "02-responses" / "manifest.json").is_file()


def test_a_refused_ablation_leaves_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["ablate", "revisions", "--out", tmp_path / "out", "--quiet", *words(*SMALL)]
    code, _, err = run(capsys, *line, "--set", "models.critic=/nowhere")
    assert code == 1 and err.startswith("Error: models.critic: /nowhere: no such model folder"), err
    assert not (tmp_path / "out").exists()


def test_a_refused_red_team_leaves_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["red-team", tmp_path / "run", "--recipe", "testbed", "--quiet", *words(*SMALL)]
    code, _, err = run(capsys, *line, "--set", "prompts.red_team=/nowhere.jsonl")
    assert code == 1 and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_new_run_says_what_it_will_use_before_its_first_stage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["run", tmp_path / "run", "--recipe", "testbed", "--until", "prompts"]
    code, _, err = run(capsys, *line, *words(*SMALL, "judge_check.weak_judge=accept"))
    assert code == 0
    assert err.splitlines()[0].strip() == "Models: assistant testbed:assistant, pretrained testbed:pretrained."
    assert err.splitlines()[1] == "[1/9] prompts"


def test_half_a_change_of_the_model_is_refused_with_the_setting_for_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["run", tmp_path / "run", "--recipe", "real", "--set", "models.assistant=testbed:assistant"]
    code, _, err = run(capsys, *line)
    assert code == 1
    assert "SL-CAI still starts from 'fetched:smollm2-135m'" in err and "--set model=testbed:assistant" in err
    assert not (tmp_path / "run").exists()


def test_the_recipe_for_ones_own_model_asks_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "run", tmp_path / "run", "--recipe", "own")
    assert (code, err) == (1, "Error: model: the recipe names no model. Name your model: --set model=FOLDER\n")


def test_a_finished_run_is_printed_without_torch(tmp_path: Path) -> None:
    finished = build(tmp_path / "run", Plan(red=4, held_out=4))
    settle(finished, {})
    code = (
        "import sys, time\n"
        "from solon.cli.main import main\n"
        f"try: main(['run', {str(finished.path)!r}])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print('heavy', [name for name in ('torch', 'transformers') if name in sys.modules])\n"
        "print('seconds', time.process_time())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "heavy []" in done.stdout
    assert "  assistant " in done.stdout and f"Report: {finished.path / 'report.html'}" in done.stdout
    assert re.search(r"^\[4/9\] sl-cai: finished before, \d+ steps$", done.stderr, re.M)
    assert float(done.stdout.split("seconds ")[1]) < 2.0


def test_the_demo_is_the_run_of_the_testbed_in_a_folder_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").write_text("in the way")
    code, _, err = run(capsys, "demo")
    assert (code, err.count("\n")) == (1, 1) and "runs/demo" in err
    (tmp_path / "runs" / "demo").unlink()
    # It is a run of the recipe testbed as that is, and refuses one of other settings.
    short = ("--recipe", "testbed", "--until", "prompts", "--quiet")
    assert run(capsys, "run", "runs/other", *short, "--set", "seed=4")[0] == 0
    code, _, err = run(capsys, "demo", "runs/other")
    assert code == 1 and "seed: 4 -> 0" in err


@pytest.mark.parametrize("name", ["http://127.0.0.1:9", "~nobody/run", "a:b", "ünïcode and spaces"])
def test_a_folder_of_any_name_is_a_path(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["run", name, "--recipe", "testbed", "--until", "prompts", "--quiet", *words(*SMALL)]
    code, _, err = run(capsys, *line)
    assert (code, err) == (0, "")
    assert (Path(name) / "01-prompts" / "rows.parquet").is_file()
    assert run(capsys, "report", name)[0] == 0


def test_words_that_are_no_text_and_files_without_a_name_are_wrong_command_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "run", str(tmp_path / "\udcff"), "--recipe", "testbed")
    assert code == 2 and "is not UTF-8" in err and "Traceback" not in err
    finished = build(tmp_path / "run", Plan(red=2, held_out=2))
    code, _, err = run(capsys, "report", finished.path, "--output", "")
    assert code == 2 and "it needs the name of a file" in err
