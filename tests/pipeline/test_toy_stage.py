"""The method is written once: a stage of one file and one line is in run, dry run, status, resume and report."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from solon.cli.main import cli
from solon.config.loading import load_recipe
from solon.errors import RecipeError
from solon.pipeline.impact import impact_of
from solon.pipeline.open_run import open_or_create
from solon.pipeline.run_stages import run_stages
from solon.runs import RunDirectory
from solon.runs.progress import Silent
from solon.stages.plan import names_of

LINE = "toy = toy:Toy"
SMALL = [
    "prompts.limit_red_team=12", "prompts.limit_helpful=2", "responses.helpful_samples=1", "revision.steps=1",
    "engine.batch_size=8", "engine.threads=1", "measure.limit=2", "feedback.form=letter",
]  # fmt: skip
TOY = [*SMALL, "plugins.toy.question=What is it about?"]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy as an installed package: one file of code, and one line that registers it."""
    site = tmp_path / "site"
    about = site / "toy-1.dist-info"
    about.mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "plugin" / "toy.py", site)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[solon.stages]\n{LINE}\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *sys.path]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return site


def solon(*words: object) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result


def options(settings: list[str]) -> list[str]:
    return ["--recipe", "testbed", *(word for setting in settings for word in ("--set", setting))]


def test_a_stage_of_one_file_and_one_line_is_everywhere(tmp_path: Path, installed: Path) -> None:
    folder = tmp_path / "run"
    estimated = solon("run", folder, *options(TOY), "--until", "toy", "--dry-run").output
    assert re.search(r"^\s*toy: opinions\s+12\s", estimated, re.M), "12 prompts, so 12 calls"
    assert "--- opinion, 3 of 3" in estimated and "What is it about?" in estimated
    assert not folder.exists()

    words = ["run", str(folder), *options([*TOY, "plugins.toy.pause=0.2"]), "--until", "toy"]
    started = subprocess.Popen(
        [sys.executable, "-m", "solon.cli", *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    journal, deadline = folder / "03-toy" / "journal.jsonl", time.monotonic() + 120
    while started.poll() is None and not (journal.exists() and journal.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 130, errors
    assert "[3/10] toy" in errors
    assert re.search(r"^\s*3 toy\s+begun", solon("status", folder).output, re.M)
    kept = len(journal.read_text().splitlines())

    resumed = solon("run", folder, "--until", "toy")
    assert "12 rows" in resumed.output and "different opinions" in resumed.output
    assert re.search(r"^\s*3 toy\s+finished\s+12 rows", solon("status", folder).output, re.M)
    run = RunDirectory.open(folder)
    made = run.finished("toy")
    assert kept >= 1 and made is not None and made.table().to_pylist()
    figures = json.loads(solon("results", folder, "--json").output)
    assert figures["plugins"]["toy"] == dict(made.facts) and "toy" not in figures["unfinished"]
    solon("report", folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "different opinions" in page and '<span class="ordinal">3</span> toy' in page

    whole = open_or_create(tmp_path / "whole", None, (), (), (folder,))
    with whole.lock():
        run_stages(whole, Silent(), "toy")
    assert {each.name for each in whole.artefacts() if each.manifest.adopted_from} == {"prompts", "responses", "toy"}
    assert impact_of(run, run.constitution).unfinished[0] == "critique-revision", "an edit does not reach the toy"


def test_interrupted_or_not_it_makes_the_same_rows_and_shifts_no_other_stage(tmp_path: Path, installed: Path) -> None:
    plain = open_or_create(tmp_path / "plain", "testbed", (), tuple(SMALL))
    with plain.lock():
        run_stages(plain, Silent(), "responses")
    with_toy = open_or_create(tmp_path / "toy", None, (), tuple(TOY), (plain.path,))
    assert names_of(with_toy.recipe)[:4] == ("prompts", "responses", "toy", "critique-revision")
    with with_toy.lock():
        run_stages(with_toy, Silent(), "critique-revision")
    assert [each.path.name for each in with_toy.artefacts()][2:] == ["03-toy", "04-critique-revision"]
    assert {each.name for each in with_toy.artefacts() if each.manifest.adopted_from} == {"prompts", "responses"}
    without = open_or_create(tmp_path / "without", None, (), (), (with_toy.path,))
    back = RunDirectory.create(
        tmp_path / "back", load_recipe("testbed", settings=SMALL), without.path / "constitution.yaml", (with_toy.path,)
    )
    with back.lock():
        run_stages(back, Silent(), "critique-revision")
    assert [each.path.name for each in back.artefacts()][2:] == ["03-critique-revision"]
    assert all(each.manifest.adopted_from for each in back.artefacts()), "under another number, but the same key"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["plugins.toi.question=x"], r"plugins\.toi: no plug-in 'toi'.*Did you mean 'toy'\?"),
        (["plugins.toy.words=3"], r"plugins\.toy\.words: .*Settings of this plug-in: question, pause"),
        (["plugins.toy.question=x", "method=rlhf"], r"comes after the stage 'responses', which a run of this recipe"),
    ],
)
def test_a_plug_in_that_does_not_do_is_refused_before_anything_is_spent(
    tmp_path: Path, installed: Path, settings: list[str], told: str
) -> None:
    with pytest.raises(RecipeError, match=told):
        names_of(load_recipe("testbed", settings=settings))
    result = CliRunner().invoke(cli, ["run", str(tmp_path / "run"), *options(settings)])
    assert isinstance(result.exception, RecipeError) and not (tmp_path / "run").exists()
