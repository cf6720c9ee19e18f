"""The whole reproduction on the bundled models, very small: every run and measurement, resumed, with all figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from solon.errors import InputError, RecipeError, RunError
from solon.pipeline.reproduction.paper_reproduction import Reproduction, reproduce
from solon.pipeline.reproduction.paper_runs import SIZES, ReproductionSize
from solon.reporting.reproduction_page import write_reproduction
from solon.runs import RunDirectory
from solon.runs.progress import Silent
from solon.stats.claim_verdicts import ClaimVerdict

TINY = ReproductionSize(
    "tiny",
    (
        "engine.threads=1", "prompts.limit_red_team=8", "prompts.limit_helpful=6", "revision.steps=2",
        "responses.helpful_samples=1", "finetune.training.epochs=1", "preference.limit_human=8",
        "preference.training.epochs=1", "judge_check.limit=8", "judge_check.weak_judge=accept", "rl.steps=2",
        "rl.prompts_per_step=4", "rl.value_warmup_steps=0", "rl.snapshots=1", "measure.limit=4",
    ),
    conversations=40, prompts=3, samples=1, ratings=40, questions=6, reasonings=2, replicates=40,
)  # fmt: skip


def tiny() -> Reproduction:
    return Reproduction(TINY)


class StoppedAt(Silent):
    """A person presses Ctrl-C when a stage or measurement begins."""

    def __init__(self, name: str) -> None:
        self.name = name

    def stage_started(self, number: int, name: str, total_stages: int) -> None:
        if name == self.name:
            raise KeyboardInterrupt


def tables(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reproduction that was stopped in training, and again before the votes."""
    path = tmp_path_factory.mktemp("reproduction") / "out"
    for name in ("hh-rlhf: rlhf", "votes"):
        with pytest.raises(KeyboardInterrupt):
            reproduce(tiny(), path, StoppedAt(name))
        stopped = tables(path)
        assert stopped and not (path / "results.json").exists()
    reproduce(tiny(), path, Silent())
    assert {file: stamp for file, stamp in tables(path).items() if file in stopped} == stopped
    return path


@pytest.mark.slow
def test_every_figure_is_measured_and_what_is_not_says_so(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    figures = {figure["number"]: figure for figure in results["figures"]}
    assert list(figures) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 12]
    for number, figure in figures.items():
        assert bool(figure["checks"]) is (number != 12), number
        assert figure["verdict"] in list(ClaimVerdict)
        for check in figure["checks"]:
            assert check["found"]["low"] <= check["found"]["value"] <= check["found"]["high"]
    assert figures[12]["verdict"] == "not shown" and figures[12]["missing"]
    assert set(results["replies"]) >= {
        "pretrained", "assistant", "sl-cai-1", "sl-cai-2", "helpful-rlhf", "hh-rlhf", "rl-cai-letter", "rl-cai-cot",
    }  # fmt: skip
    assert results["votes"] == 2 * TINY.conversations


@pytest.mark.slow
def test_nothing_is_trained_twice(folder: Path) -> None:
    runs = {path.name: RunDirectory.open(path) for path in (folder / "runs").iterdir()}
    made: dict[str, list[str]] = {}
    for name, run in runs.items():
        for artefact in run.artefacts():
            if artefact.manifest.adopted_from is None:
                made.setdefault(artefact.name, []).append(name)
    assert made["prompts"] == made["responses"] == ["rl-cai-cot"]
    assert sorted(made["critique-revision"]) == [
        "direct-revisions", "principles-1", "principles-2", "principles-4", "principles-8", "rl-cai-cot",
    ]  # fmt: skip
    assert sorted(made["sl-cai"]) == ["rl-cai-cot", "sl-cai-1"]
    assert made["response-pairs"] == ["rl-cai-cot"]
    assert sorted(made["preference-model"]) == [
        "harmlessness-pm", "helpful-rlhf", "hh-rlhf", "rl-cai-cot", "rl-cai-letter",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_second_call_reads_what_is_there_and_a_lost_measurement_is_made_again(folder: Path) -> None:
    before = (folder / "results.json").read_text()
    stamps = tables(folder)
    again = reproduce(tiny(), folder, Silent())
    assert (folder / "results.json").read_text() == before
    assert tables(folder) == stamps
    (folder / "revision-scores" / "rows.parquet").unlink()
    (folder / "revision-scores" / "manifest.json").unlink()
    rescored = reproduce(tiny(), folder, Silent())
    assert rescored.figures == again.figures
    page = write_reproduction(rescored, folder).read_text()
    assert page.count("<h2>Figure") == 10 and "not shown" in page
    assert (folder / "reproduction.md").read_text().startswith("| figure | what |")


@pytest.mark.slow
def test_another_size_is_refused(folder: Path) -> None:
    with pytest.raises(RunError, match="another size"):
        reproduce(Reproduction(replace(TINY, samples=2)), folder, Silent())


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="the folder is not empty"):
        reproduce(tiny(), tmp_path, Silent())


def test_a_fault_in_a_later_run_is_found_before_anything_is_made(tmp_path: Path) -> None:
    given = Reproduction(SIZES["small"], ("prompts.helpful=nowhere.jsonl",))
    with pytest.raises(InputError, match="no such prompt file"):
        reproduce(given, tmp_path / "out", Silent())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("setting", ["rl.snapshots=null", "rl.algorithm=dpo", "measure.grader=none"])
def test_settings_with_which_a_figure_has_no_measurement_are_refused(setting: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the reproduction"):
        reproduce(Reproduction(SIZES["small"], (setting,)), tmp_path / "out", Silent())
    assert not (tmp_path / "out").exists()
