"""What a session tells of a model that it loads, and when it drops one."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.engines.tiny import byte_tokenizer, model_of
from tests.row_types import IdRow
from tests.runs.descriptors import opened_in

from solon.config.builtin import constitution_path
from solon.config.loading import load_recipe
from solon.config.recipe import Recipe, Settings
from solon.engines.engine_place import ThisProcess
from solon.errors import StageError
from solon.pipeline.session import Session, finished
from solon.runs import Artefact, RunDirectory, StageFolder
from solon.runs.processes import SingleProcess
from solon.runs.progress import Silent
from solon.stages.plan import PROMPTS, built_in
from solon.stages.stage import Kind, Stage, StageDependencies, Work


class Heard(Silent):
    """Keeps the remarks."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def remark(self, line: str) -> None:
        """See `Display`."""
        self.lines.append(line)


@pytest.mark.parametrize(("memory", "told"), [("0.001", 1), ("1", 0)])
def test_the_memory_for_prompts_is_told_once_where_it_may_be_the_bound(tmp_path: Path, memory: str, told: int) -> None:
    model_of("llama").save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    recipe = load_recipe("testbed", settings=[f"engine.memory_gib={memory}", "engine.window=160"])
    run = RunDirectory.create(tmp_path / "run", recipe, constitution_path("testbed"))
    display = Heard()
    session = Session(run, display)
    for _ in range(2):
        session.engine(tmp_path / "model")
    assert len(display.lines) == told
    assert all("engine.memory_gib" in line for line in display.lines)


@dataclass(frozen=True)
class Watching(Stage):
    """Notes whether the model that was asked last is in memory while the stage runs."""

    weight: Callable[[], object] = lambda: None
    alive: list[bool] = field(default_factory=list)
    readers: list[Work] = field(default_factory=list)
    """Who asked what the stage reads."""

    def settings(self, recipe: Recipe) -> Settings:
        return recipe.responses

    def reads(self, work: Work) -> StageDependencies:
        self.readers.append(work)
        return StageDependencies()

    def run(self, work: Any, out: StageFolder) -> Artefact:
        self.alive.append(self.weight() is not None)
        return finished(work.run, self.name) if out.follows else out.publish([IdRow("a")], IdRow)


@pytest.mark.parametrize(("kind", "kept"), [(Kind.ASKS, True), (Kind.TRAINS, False)])
def test_a_stage_that_trains_has_the_memory_of_the_model_that_was_asked_before(
    tmp_path: Path, kind: Kind, kept: bool
) -> None:
    model_of("llama").save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    recipe = load_recipe("testbed", settings=["engine.window=160"])
    run = RunDirectory.create(tmp_path / "run", recipe, constitution_path("testbed"))
    session = Session(run, Heard())
    with run.lock():
        engine: Any = session.engine(tmp_path / "model")
        weight = weakref.ref(next(getattr(engine, "inner", engine).model.parameters()))
        del engine
        stage = Watching("responses", kind=kind, weight=weight)
        session.do(stage)
    assert stage.alive == [kept]


class Failing(Watching):
    """Fails when its journal is open."""

    def run(self, work: Work, out: StageFolder) -> Artefact:
        assert opened_in(out.path) == ["journal.jsonl"]
        raise StageError("it cannot go on")


def test_a_stage_that_fails_leaves_no_file_open(tmp_path: Path) -> None:
    recipe = load_recipe("testbed", settings=["engine.window=160"])
    run = RunDirectory.create(tmp_path / "run", recipe, constitution_path("testbed"))
    with run.lock():
        with pytest.raises(StageError):
            Session(run, Heard()).do(Failing("responses"))
        assert opened_in(run.path / "02-responses") == []


class Helper(SingleProcess):
    """The second of two processes; the first one tells it what became of a stage."""

    rank = 1
    count = 2

    def __init__(self, told: str) -> None:
        self.told = told

    def broadcast(self, value: Any) -> Any:
        """See `Processes`."""
        return self.told


@pytest.mark.parametrize(("kind", "told", "ran"), [(Kind.ASKS, "finished", 1), (Kind.TRAINS, "begun", 2)])
def test_a_helping_process_computes_no_key(tmp_path: Path, kind: Kind, told: str, ran: int) -> None:
    """A key takes hashes of all models, and of stage 01 the assistant in memory."""
    run = RunDirectory.create(tmp_path / "run", load_recipe("testbed"), constitution_path("testbed"))
    stage = Watching("responses", kind=kind)
    with run.lock():
        main, helping = Session(run, Heard()), Session(run, Heard(), processes=Helper(told))
        published = main.do(stage)
        assert main in stage.readers
        stage.readers.clear()
        assert helping.do(stage).hash == published.hash
    assert stage.readers == [] and len(stage.alive) == ran


class Refusing(ThisProcess):
    """Opens no engine."""

    def open(self, *given: object) -> Any:
        """See `EnginePlace`."""
        raise AssertionError("a model is loaded")


def test_a_finished_stage_of_prompts_is_known_without_loading_the_assistant(tmp_path: Path) -> None:
    settings = ["prompts.limit_red_team=2", "prompts.limit_helpful=2", "measure.limit=2"]
    recipe = load_recipe("testbed", settings=settings)
    run = RunDirectory.create(tmp_path / "run", recipe, constitution_path("testbed"))
    with run.lock():
        made = Session(run, Heard()).do(built_in(PROMPTS))
        resumed = Session(run, Heard(), place=Refusing())
        assert resumed.do(built_in(PROMPTS)).hash == made.hash
