"""What belongs to a stage's key, what does not, and what is told of it (promise P4)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.row_types import IdRow
from tests.synthetic import Plan, build

from solon.cli.main import cli
from solon.config.builtin import constitution_path, model_path
from solon.config.loading import load_recipe
from solon.config.recipe import EngineSettings, Recipe, Settings
from solon.digest import digest_model, digest_source
from solon.engines.rounding import ROUNDING, keyed, made_with, rounding_summary
from solon.errors import RunError
from solon.pipeline.session import Session
from solon.reporting import render
from solon.runs import RunDirectory, StageFolder
from solon.runs.artefact import Artefact
from solon.runs.progress import Silent
from solon.stages.stage import Kind, Stage, StageDependencies, Work


@dataclass
class Told(Silent):
    """A display that keeps what it is told."""

    lines: list[str] = field(default_factory=list)

    def remark(self, line: str) -> None:
        self.lines.append(line)

    def stage_kept(self, number: int, name: str, total_stages: int, rows: int, unit: str = "") -> None:
        self.lines.append(f"kept {name}")


def made(folder: Path, *settings: str, reuse: tuple[Path, ...] = ()) -> RunDirectory:
    return RunDirectory.create(folder, load_recipe("testbed", settings=settings), constitution_path("testbed"), reuse)


@dataclass(frozen=True)
class OneRow(Stage):
    """A stage that makes one row, of a model folder where one is named."""

    version: int = 1
    model: Path | None = None
    work: Callable[[StageFolder], Artefact] | None = None

    @property
    def code(self) -> int:  # type: ignore[override]
        return self.version

    def settings(self, recipe: Recipe) -> Settings:
        return recipe.responses

    def reads(self, work: Work) -> StageDependencies:
        return StageDependencies({"assistant": self.model} if self.model else {})

    def run(self, work: Work, out: StageFolder) -> Artefact:
        return (self.work or publish)(out)


def do(run: RunDirectory, name: str = "responses", code: int = 1, model: Path | None = None) -> Told:
    """The stage by that name, made of a model folder where one is named; says what the display was told."""
    display = Told()
    kind = Kind.TRAINS if name == "sl-cai" else Kind.ASKS
    with run.lock():
        Session(run, display).do(OneRow(name, kind=kind, version=code, model=model))
    return display


def publish(out: StageFolder) -> Artefact:
    return out.publish([IdRow("a")], IdRow)


# Settings -------------------------------------------------------------------------------------------------------------

OTHER: dict[str, Any] = {"rendering": "chat", "window": 256, "matmul": "medium", "dtype": "bfloat16",
                         "thinking": "on", "template": "other", "date": "2020-02-02",
                         "server": {"samples": 2}}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(EngineSettings.model_fields) - ROUNDING))
def test_every_setting_of_the_engine_is_keyed_unless_it_is_named(tmp_path: Path, name: str) -> None:
    """A setting that is added later fails here until it has another value above, and is keyed all along."""
    changed = EngineSettings.model_validate({name: OTHER[name]})
    assert keyed(changed) != keyed(EngineSettings())
    first = made(tmp_path / "first")
    do(first)
    second = made(tmp_path / "second", f"engine.{name}={OTHER[name]}", reuse=(first.path,))
    assert do(second).lines == [] and (found := second.finished("responses")) and not found.manifest.adopted_from


@pytest.mark.parametrize("name", sorted(ROUNDING))
def test_what_moves_rows_by_rounding_alone_is_taken_over_and_told(tmp_path: Path, name: str) -> None:
    first = made(tmp_path / "first", "engine.threads=1")
    do(first)
    assert do(first).lines == ["kept responses"]
    other = {"device_map": "auto", "vllm": "{tensor_parallel: 2}"}.get(name, "3")
    shown = {"vllm": "{'tensor_parallel': 2,"}.get(name, other)
    second = made(tmp_path / "second", "engine.threads=1", f"engine.{name}={other}", reuse=(first.path,))
    kept, told = do(second).lines
    assert kept == "kept responses" and f"(now {shown}" in told and "rounding" in told
    found = second.finished("responses")
    assert found is not None and found.manifest.adopted_from and len(found.manifest.made_with) == 1


def test_machine_and_libraries_are_noted_and_told() -> None:
    now = made_with(EngineSettings())
    assert {"processor", "threads", "processes", "torch", "transformers", "engine.batch_size"} <= set(now)
    assert rounding_summary([now], now) is None and rounding_summary([], now) is None
    other = {**now, "torch": "1.0", "processor": "abacus"}
    told = rounding_summary([now, other], now)
    assert told is not None and "processor abacus (now" in told and "torch 1.0 (now" in told


def test_each_session_at_a_stage_is_noted(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    for threads in (1, 1, 2):
        out = run.begin(1, "prompts", {"seed": 1}, made_with={"threads": threads})
        out.journal.close()
    assert publish(run.begin(1, "prompts", {"seed": 1}, made_with={"threads": 1})).manifest.made_with == [
        {"threads": 1},
        {"threads": 2},
    ]


def test_what_cannot_move_rows_is_in_no_key(tmp_path: Path) -> None:
    """The run's name and folder, and whether a weak judge is accepted."""
    first = made(tmp_path / "first")
    do(first)
    second = made(tmp_path / "second", "name=other", "judge_check.weak_judge=accept", reuse=(first.path,))
    assert do(second).lines == ["kept responses"]


def test_stages_are_taken_over_when_only_the_way_of_measuring_changes(tmp_path: Path) -> None:
    """Critic and judge are measured on questions of the testbed or on plain ones, whoever grades the replies."""
    models = ("measure.benign=plain:held-out-benign", "measure.harmful=plain:held-out-harmful")
    graders = {
        "testbed": (),
        "none": ("measure.grader=none", *models),
        "judge": ("measure.grader=judge", "measure.judge=testbed:assistant", *models),
    }
    keys = {
        name: Session(made(tmp_path / name, *settings), Told()).judge_check_key() for name, settings in graders.items()
    }
    assert keys["none"] == keys["judge"] != keys["testbed"]


def test_how_a_server_is_reached_may_change_during_a_run(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    do(run)
    again = made(tmp_path / "run", "engine.server.concurrency=3", "engine.server.max_cost=2.5")
    assert do(again).lines == ["kept responses"]
    assert RunDirectory.open(run.path).recipe.engine.server.concurrency == 3
    with pytest.raises(RunError, match=r"engine\.server\.samples: 1 -> 2"):
        made(tmp_path / "run", "engine.server.samples=2")


def test_another_version_of_a_stage_is_refused_and_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made(tmp_path / "run")
    do(run)
    with pytest.raises(RunError, match=r"code\.stage: 1 -> 2"):
        do(run, code=2)
    assert do(made(tmp_path / "new", reuse=(run.path,)), code=2).lines == []
    monkeypatch.setattr("solon.engines.rounding.CODE", 99)
    with pytest.raises(RunError, match=r"code\.asking: \d -> 99"):
        do(run)
    do(run, "sl-cai")
    monkeypatch.setattr("solon.training.loop.CODE", 98)
    with pytest.raises(RunError, match=r"code\.training: \d -> 98"):
        do(run, "sl-cai")


# Model folders --------------------------------------------------------------------------------------------------------

FILES = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer.model", "vocab.txt",
         "merges.txt", "chat_template.jinja", "additional_chat_templates/tool_use.jinja", "o200k.tiktoken",
         "spiece.model", "adapter/adapter_config.json", "custom.py", "a-kind-that-comes.later"]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_file_of_a_model_counts(tmp_path: Path, name: str) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder / name).parent.mkdir(parents=True)
        (tmp_path / folder / name).write_text(f"{{}} {folder}")
    assert digest_model(tmp_path / "one") != digest_model(tmp_path / "other")
    (tmp_path / "other" / name).write_text("{} one")
    assert digest_source(tmp_path / "one") == digest_source(tmp_path / "other")
    (tmp_path / "other" / name).rename(tmp_path / "other" / "renamed")
    assert digest_model(tmp_path / "one") != digest_model(tmp_path / "other")


def test_what_is_for_people_does_not_count_and_links_are_followed(tmp_path: Path) -> None:
    folder, blobs = tmp_path / "model", tmp_path / "blobs"
    folder.mkdir()
    blobs.mkdir()
    (blobs / "a").write_text("1")
    (folder / "vocab.txt").symlink_to(blobs / "a")
    (folder / "loop").symlink_to(folder)
    before = digest_model(folder)
    for name in ("README.md", ".gitattributes", "LICENSE", "LICENSE.txt"):
        (folder / name).write_text("x")
    assert digest_model(folder) == before
    (blobs / "a").write_text("2")
    assert digest_model(folder) != before


def test_the_base_of_an_adapter_counts(tmp_path: Path) -> None:
    for folder in ("base", "adapter"):
        (tmp_path / folder).mkdir()
    (tmp_path / "base" / "config.json").write_text("1")
    named = {"base_model_name_or_path": str(tmp_path / "base")}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(named))
    before = digest_model(tmp_path / "adapter")
    (tmp_path / "base" / "config.json").write_text("2")
    assert digest_model(tmp_path / "adapter") != before


def test_a_template_edited_between_two_sessions_is_refused(tmp_path: Path) -> None:
    model, run = tmp_path / "model", made(tmp_path / "run")
    shutil.copytree(model_path("testbed:assistant"), model)
    do(run, model=model)
    (model / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(RunError, match="assistant: "):
        do(run, model=model)


@pytest.mark.parametrize("when", ["after", "within"])
def test_a_template_edited_while_a_session_works_is_refused(tmp_path: Path, when: str) -> None:
    model, run = tmp_path / "model", made(tmp_path / "run")
    model.mkdir()
    (model / "chat_template.jinja").write_text("old")

    def work(out: StageFolder) -> Artefact:
        if when == "within":
            (model / "chat_template.jinja").write_text("other")
        return publish(out)

    with run.lock(), pytest.raises(RunError, match=r"model: an input of the run was edited during the run"):
        session = Session(run, Silent())
        session.do(OneRow("responses", model=model, work=work))
        (model / "chat_template.jinja").write_text("other")
        session.hash(model)
    assert (run.finished("responses") is None) == (when == "within")


# What was edited in a run ---------------------------------------------------------------------------------------------


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("recipe.yaml", "seed: 0", "seed: 7", r"recipe\.yaml was edited .*seed: 0 -> 7"),
        ("recipe.yaml", "matmul: highest", "matmul: medium", r"engine\.matmul: 'highest' -> 'medium'"),
        ("recipe.yaml", "batch_size: 128", "batch_size: 3", r"engine\.batch_size: 128 -> 3"),
        ("recipe.yaml", "red_team: testbed:red-team", "red_team: other", r"prompts\.red_team: "),
        ("constitution.yaml", "revision", "revision", ""),
        ("constitution.yaml", "the response", "the edited response", r"constitution\.yaml was edited .*its hash: "),
    ],
)
def test_work_is_refused_under_an_edited_recipe_or_constitution(
    tmp_path: Path, name: str, old: str, new: str, told: str
) -> None:
    run = RunDirectory.create(tmp_path / "run", Recipe(), constitution_path("testbed"))
    before = (run.path / name).read_text(encoding="utf-8")
    edit(run.path / name, old, new)
    again = RunDirectory.open(run.path)
    if not told:
        with again.lock():
            return
    with pytest.raises(RunError, match=told), again.lock():
        pass
    (run.path / name).write_text(before, encoding="utf-8")
    with RunDirectory.open(run.path).lock():
        pass


def test_an_accepted_weak_judge_is_no_edit(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    recipe = load_recipe("testbed", settings=["judge_check.weak_judge=accept"])
    with RunDirectory.create(run.path, recipe, constitution_path("testbed")).lock():
        pass
    assert RunDirectory.open(run.path).edits() == []


SHOWN: list[Callable[[RunDirectory], str]] = [
    lambda run: render(run),
    lambda run: CliRunner().invoke(cli, ["results", str(run.path)]).output,
    lambda run: CliRunner().invoke(cli, ["status", str(run.path)]).output,
]


@pytest.mark.parametrize("shown", SHOWN)
def test_what_shows_an_edited_constitution_says_so(tmp_path: Path, shown: Callable[[RunDirectory], str]) -> None:
    run = build(tmp_path / "run", Plan(red=4, held_out=4))
    assert "was edited" not in shown(RunDirectory.open(run.path))
    file = run.path / "constitution.yaml"
    file.write_text(file.read_text().replace("harm", "charm"))
    assert "constitution.yaml was edited since the run was made" in shown(RunDirectory.open(run.path))


def test_a_stage_that_used_another_constitution_tells_it_too(tmp_path: Path) -> None:
    """Also where `run.json` was put right to go with the edit."""
    run = made(tmp_path / "run")
    publish(run.begin(3, "critique-revision", {"constitution": "0123456789abcdef"}))
    assert "its hash: 01234567 -> " in RunDirectory.open(run.path).edits()[0]
