"""The whole method on the bundled model, small: it ends, it can be killed anywhere, and the oracle only watches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from solon.cli.main import cli
from solon.config.builtin import constitution_path
from solon.config.loading import load_recipe
from solon.conversation import Conversation
from solon.errors import RecipeError, RunError
from solon.pipeline.extra_stages import measure_snapshots
from solon.pipeline.impact import impact_of
from solon.pipeline.open_run import open_or_create
from solon.pipeline.run_stages import run_stages
from solon.reporting import render
from solon.reporting.results import results
from solon.runs import RunDirectory
from solon.runs.processes import Sharding, SingleProcess
from solon.runs.progress import Silent
from solon.stages.plan import HELD_OUT_MODEL, STAGES
from solon.testbed.oracle import Oracle

SMALL = [
    "prompts.limit_red_team=12",
    "prompts.limit_helpful=12",
    "engine.batch_size=6",
    "engine.threads=1",
    "revision.steps=2",
    "finetune.training.batch_size=8",
    "finetune.training.checkpoint_every=2",
    # So few questions tell nothing about a judge.
    "judge_check.limit=4",
    "judge_check.weak_judge=accept",
    "preference.limit_human=12",
    "preference.training.batch_size=8",
    "preference.training.checkpoint_every=2",
    "rl.steps=3",
    "rl.prompts_per_step=4",
    "rl.checkpoint_every=1",
    "measure.limit=6",
]


def start(folder: Path) -> subprocess.Popen[bytes]:
    """`solon run` in a process of its own."""
    words = [sys.executable, "-m", "solon.cli", "run", str(folder), "--quiet"]
    if not (folder / "run.json").exists():
        words += ["--recipe", "testbed", *(word for setting in SMALL for word in ("--set", setting))]
    return subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def tables(folder: Path) -> dict[str, str]:
    """The hash of every stage: of its rows and, where it made one, its model."""
    return {artefact.name: artefact.hash for artefact in RunDirectory.open(folder).artefacts()}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    process = start(folder)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors.decode()
    return folder


def test_a_run_ends_with_every_stage_and_every_measure(uninterrupted: Path) -> None:
    found = results(RunDirectory.open(uninterrupted))
    assert list(found["stages"]) == list(STAGES)
    assert set(found["models"]) == {"pretrained", "assistant", "sl-cai", "rl-cai"}
    for measures in found["models"].values():
        assert {"harmful", "evasive", "objecting", "preachy", "garbled", "helpful"} <= set(measures)
        assert measures["harmful"]["n"] == 6
    assert found["models"]["assistant"]["harmful"]["value"] >= 0.5
    assert set(found["revisions"]) == {"0", "1", "2"}
    assert (uninterrupted / "report.html").exists()
    json.dumps(found, allow_nan=False)


def test_killed_in_every_stage_it_gives_the_same_rows(uninterrupted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    for number, name in enumerate(STAGES, start=1):
        process = start(folder)
        stage = folder / f"{number:02d}-{name}"
        deadline = time.monotonic() + 120
        # The stage's first durable piece of work is awaited, so that there is something to lose.
        while process.poll() is None and not _at_work(stage) and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = start(folder)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors.decode()
    assert tables(folder) == tables(uninterrupted)


def _at_work(stage: Path) -> bool:
    journal, checkpoints = stage / "journal.jsonl", stage / "checkpoints"
    return (journal.exists() and journal.stat().st_size > 0) or (checkpoints.is_dir() and any(checkpoints.iterdir()))


def test_a_finished_run_is_only_read(uninterrupted: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*.parquet")}
    process = start(uninterrupted)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    assert {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*.parquet")} == before


def test_changed_settings_are_refused_by_name_and_value(uninterrupted: Path) -> None:
    recipe = load_recipe("testbed", settings=[*SMALL, "rl.kl_coef=0.5"])
    with pytest.raises(RunError, match=r"rl\.kl.*0\.5"):
        RunDirectory.create(uninterrupted, recipe, constitution_path("testbed"))


def test_the_oracle_is_asked_by_the_measure_stage_alone(
    tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an oracle that cannot be asked before the measure stage, the same models come out."""
    folder = tmp_path / "blind"
    run = RunDirectory.create(folder, load_recipe("testbed", settings=SMALL), constitution_path("testbed"))
    rate = Oracle.rate

    def guarded(self: Oracle, conversation: Conversation, reply: str) -> frozenset[str]:
        assert (folder / "08-rl-cai" / "manifest.json").exists(), "the oracle was asked before training ended"
        return rate(self, conversation, reply)

    monkeypatch.setattr(Oracle, "rate", guarded)
    with run.lock():
        run_stages(run, Silent())
    assert tables(folder) == tables(uninterrupted)


def test_a_shared_backbone_is_not_sharded_and_says_so_before_anything_is_spent(tmp_path: Path) -> None:
    class Sharded(SingleProcess):
        sharding = Sharding.SHARDED

    adapters = [f"{stage}.training.lora.rank=4" for stage in ("finetune", "preference")]
    recipe = load_recipe("testbed", settings=[*SMALL, "rl.networks=shared", *adapters])
    run = RunDirectory.create(tmp_path / "run", recipe, constitution_path("testbed"))
    with pytest.raises(RecipeError, match=r"rl\.networks.*FSDP.*rl\.networks=separate"):
        run_stages(run, Silent(), processes=Sharded())
    assert not run.artefacts()


def test_a_run_stops_after_the_stage_it_is_told_and_goes_on_later(uninterrupted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "until"
    run = RunDirectory.create(folder, load_recipe("testbed", settings=SMALL), constitution_path("testbed"))
    with run.lock():
        run_stages(run, Silent(), until="responses")
        assert list(tables(folder)) == ["prompts", "responses"]
        run_stages(run, Silent(), until="critique-revision")
    whole = tables(uninterrupted)
    assert tables(folder) == {name: whole[name] for name in ("prompts", "responses", "critique-revision")}


def test_more_revisions_than_steps_are_refused_before_any_model_is_asked(tmp_path: Path) -> None:
    recipe = load_recipe("testbed", settings=[*SMALL, "finetune.revisions=3"])
    run = RunDirectory.create(tmp_path / "run", recipe, constitution_path("testbed"))
    with run.lock(), pytest.raises(RecipeError, match="the first 3 revisions are asked for, but there are 2 steps"):
        run_stages(run, Silent())
    assert tables(tmp_path / "run") == {}


@pytest.mark.parametrize(
    "settings",
    [
        ("rl.algorithm=rloo", "rl.samples_per_prompt=2"),
        ("rl.algorithm=dpo", "rl.dpo.training.batch_size=8", "rl.dpo.training.epochs=1"),
    ],
)
def test_another_algorithm_takes_over_all_that_comes_before_it(
    uninterrupted: Path, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    new = open_or_create(tmp_path / "new", None, (), settings, (uninterrupted,))
    with new.lock():
        run_stages(new, Silent(), until="rl-cai")
    adopted = {artefact.name for artefact in new.artefacts() if artefact.manifest.adopted_from}
    assert adopted == set(STAGES[: STAGES.index("rl-cai")])
    reinforced = new.finished("rl-cai")
    assert reinforced is not None and reinforced.facts["algorithm"] == settings[0].partition("=")[2]


def test_a_watched_policy_is_measured_on_its_way(uninterrupted: Path, tmp_path: Path) -> None:
    settings = ("rl.held_out_share=0.5", "rl.snapshots=2")
    run = open_or_create(tmp_path / "watched", None, (), settings, (uninterrupted,))
    with run.lock():
        run_stages(run, Silent(), until="rl-cai")
        measured = measure_snapshots(run, Silent())
    adopted = {artefact.name for artefact in run.artefacts() if artefact.manifest.adopted_from}
    assert adopted == set(STAGES[: STAGES.index("preference-model")]), "the run's own model learns another part now"
    own, held_out, reinforced = (run.finished(name) for name in ("preference-model", HELD_OUT_MODEL, "rl-cai"))
    assert own is not None and held_out is not None and reinforced is not None
    seen = [
        {
            json.dumps(json.loads(line)["messages"][:-1])
            for line in (each.model / "golden_scores.jsonl").read_text().splitlines()
        }
        for each in (own, held_out)
    ]
    assert not seen[0] & seen[1]
    assert all(row["held_out_score"] is not None for row in reinforced.table().to_pylist())
    assert sorted(measured.facts["snapshots"], key=int) == ["0", "2", "3"]
    assert {"good", "harmful", "helpful", "score", "held_out_score"} <= set(measured.facts["snapshots"]["3"])
    rows = measured.table().to_pylist()
    assert len(rows) == 3 * 12 and all(row["score"] is not None for row in rows)
    figures = results(run)
    assert figures["snapshots"]["steps"] == measured.facts["snapshots"]
    assert "Curves over RL snapshots" in render(run)
    with run.lock():
        assert measure_snapshots(run, Silent()).hash == measured.hash, "measured once"
    told = CliRunner().invoke(cli, ["snapshots", str(run.path), "--quiet"])
    assert told.exit_code == 0
    lines = [line.split() for line in told.output.splitlines()]
    assert [line[0] for line in lines if line and line[0].isdigit()] == ["0", "2", "3"]
    assert any(line[:2] == ["Step", "good"] for line in lines) and "Report: " in told.output


def test_a_recipe_that_names_refusals_has_them_and_all_else_as_before(uninterrupted: Path, tmp_path: Path) -> None:
    settings = ("refusals.limit=3", "refusals.sampling.max_tokens=8")
    run = open_or_create(tmp_path / "refusing", None, (), settings, (uninterrupted,))
    with run.lock():
        run_stages(run, Silent())
    made = {artefact.name: artefact.manifest.adopted_from is None for artefact in run.artefacts()}
    assert {name for name, new in made.items() if new} == {"refusals"}
    found = results(run)["refusals"]
    assert found["prompts"] == 3 and set(found["models"]) == {"pretrained", "assistant", "sl-cai", "rl-cai"}
    told = CliRunner().invoke(cli, ["refusals", str(run.path), "-q"])
    assert told.exit_code == 0 and "3 benign prompts that sound harmful" in told.output
    assert "benign prompts that sound harmful" in CliRunner().invoke(cli, ["results", str(run.path)]).output


def test_snapshots_that_were_not_kept_are_told_with_the_setting(uninterrupted: Path) -> None:
    run = RunDirectory.open(uninterrupted)
    with run.lock(), pytest.raises(RunError, match=r"no snapshots.*--set rl\.snapshots="):
        measure_snapshots(run, Silent())


def test_rloo_with_one_reply_to_a_prompt_is_refused_before_any_model_is_asked(tmp_path: Path) -> None:
    recipe = load_recipe("testbed", settings=[*SMALL, "rl.algorithm=rloo"])
    run = RunDirectory.create(tmp_path / "run", recipe, constitution_path("testbed"))
    with run.lock(), pytest.raises(RecipeError, match=r"--set rl\.samples_per_prompt=2"):
        run_stages(run, Silent())
    assert tables(tmp_path / "run") == {}


def test_after_an_edited_constitution_only_what_it_touches_is_done_again(uninterrupted: Path, tmp_path: Path) -> None:
    """Another word in preference principles leaves the supervised half as it is: no call, no training."""
    text = constitution_path("testbed").read_text(encoding="utf-8")
    position = text.index("preference:")
    edited = text[:position] + text[position:].replace("the response", "the reply")
    assert edited != text
    (tmp_path / "edited.yaml").write_text(edited, encoding="utf-8")
    new = open_or_create(tmp_path / "new", None, (), (f"constitution={tmp_path / 'edited.yaml'}",), (uninterrupted,))
    foreseen = impact_of(RunDirectory.open(uninterrupted), new.constitution)
    with new.lock():
        run_stages(new, Silent())
    adopted = {artefact.name for artefact in new.artefacts() if artefact.manifest.adopted_from}
    assert adopted == {"prompts", "responses", "sl-cai", "response-pairs"}
    assert tables(new.path)["critique-revision"] == tables(uninterrupted)["critique-revision"]
    asked = {(each.stage, each.what): each.again for each in foreseen.questions}
    with new.answers() as answers:
        usage = answers.usage()
    for stage, role, what in (
        ("critique-revision", "critique", None),
        ("critique-revision", "revision", None),
        ("ai-feedback", "reasoning", "reasoning"),
        ("measure", "assistant", "reply"),
    ):
        fresh = usage[stage, role].answers - usage[stage, role].reused
        assert fresh <= (asked[stage, what] if what else 0), stage
        assert fresh > 0 or stage in ("critique-revision", "measure")
    assert set(foreseen.trained) == {"preference-model", "rl-cai"}
