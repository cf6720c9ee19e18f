"""Models in the actors of a real local Ray: opened once each, asked by whoever is free, and not lost with an actor."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.engines.cluster.models_on_ray import SPEC, ScriptedModels, asked, preferred, words
from tests.engines.tiny import QUESTION, byte_tokenizer, model_of

from solon.config.model_spec import ModelSpec
from solon.config.ray_cluster import RayCluster
from solon.config.recipe import EngineSettings
from solon.config.settings import SamplingParams
from solon.config.version import __version__
from solon.engines.base import Completion, Engine
from solon.engines.cluster.engine_host import HostFacts
from solon.engines.cluster.ray_place import AnyModel, RayPlace, on_ray, refuse_other_host
from solon.engines.registry import Opener, open_engine
from solon.engines.rounding import keyed
from solon.errors import EngineError, ModelError, RecipeError, RunError

pytestmark = pytest.mark.slow
"""Starting Ray takes a quarter of a minute on two idle cores, and minutes on busy ones."""
SAMPLING = SamplingParams()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "log.txt"


@pytest.fixture(scope="module")
def place(ray_here: Any, log: Path) -> Iterator[RayPlace]:
    with on_ray(RayCluster(actors=2), opener=ScriptedModels(log)) as place:
        yield place
    assert ray_here.is_initialized()  # who connected stays connected


@contextmanager
def opening(place: RayPlace, opener: Opener) -> Iterator[RayPlace]:
    """The same actors, which open models otherwise."""
    before = place.pool.open_here
    try:
        yield RayPlace(place.pool, place.executor, {}, (), opener)
    finally:
        place.pool.open_here = before


def texts(engine: Engine, prompts: Sequence[str]) -> list[str]:
    completions: list[Completion] = engine.generate(
        [asked(prompt) for prompt in prompts], list(range(len(prompts))), SAMPLING
    )
    return [each.text for each in completions]


def test_an_engine_answers_as_the_one_that_it_stands_for(place: RayPlace) -> None:
    engine, prompt = place.open(SPEC), asked("hello there")
    here = ScriptedModels().open(SPEC, None)  # type: ignore[arg-type]
    assert (engine.name, engine.window, engine.choosing) == (here.name, here.window, here.choosing)
    assert engine.generate([prompt], [7], SAMPLING) == here.generate([prompt], [7], SAMPLING)
    assert engine.choose([prompt], ["A", "BB"]) == [(preferred(prompt, "A"), preferred(prompt, "BB"))]
    assert engine.count_tokens(prompt) == here.count_tokens(prompt)
    assert engine.continuation(prompt, ["A", "B"]) == here.continuation(prompt, ["A", "B"])


def test_several_actors_work_at_once_and_each_opens_a_model_once(place: RayPlace, log: Path) -> None:
    engine = place.open(ModelSpec("folder", "once"))

    def work(chunk: Sequence[int]) -> list[str]:
        return texts(engine, [f"process, wait {number}" for number in chunk])

    answered: set[str] = set()
    deadline = time.monotonic() + 120
    while len(answered) < 2 and time.monotonic() < deadline:  # an actor may start later than the other one
        parts = place.executor.map(work, iter([[number] for number in range(12)]))
        answered |= {row for rows in parts for row in rows}
    assert len(answered) == 2 and str(os.getpid()) not in answered
    opened = [line.split()[2] for line in log.read_text().splitlines() if line.startswith("opened once ")]
    assert sorted(opened) == sorted(answered)


def test_results_keep_the_order_of_the_chunks(place: RayPlace) -> None:
    engine = place.open(SPEC)

    def work(chunk: Sequence[int]) -> list[str]:
        return texts(engine, [f"{'wait ' if number % 3 == 0 else ''}{number}" for number in chunk])

    chunks = [list(range(start, start + 2)) for start in range(0, 16, 2)]
    rows = [row for rows in place.executor.map(work, iter(chunks)) for row in rows]
    wanted = [f"{'wait ' if number % 3 == 0 else ''}{number}" for number in range(16)]
    assert rows == [words(asked(text), number % 2) for number, text in enumerate(wanted)]


def test_an_error_of_an_engine_is_the_error_that_it_is(place: RayPlace) -> None:
    engine = place.open(SPEC)
    with pytest.raises(EngineError, match=r"^toy: no answer\. Ask again$") as caught:
        texts(engine, ["please fail"])
    assert type(caught.value) is EngineError
    with pytest.raises(KeyError):
        texts(engine, ["a fault"])
    assert texts(engine, ["and on"]) == [words(asked("and on"), 0)]


def test_a_model_that_is_not_used_any_more_is_dropped(place: RayPlace, log: Path) -> None:
    dropped = ModelSpec("folder", "dropped")

    def openings() -> int:
        return log.read_text().count("opened dropped ")

    engine = place.open(dropped)
    before = openings()
    texts(engine, ["still here"])
    del engine
    kept = place.open(SPEC)
    list(place.executor.map(lambda chunk: texts(kept, ["wait"]), iter([[0], [1], [2], [3]])))  # both hear of it
    place.open(dropped)
    assert openings() > before


def test_a_killed_actor_costs_no_row(place: RayPlace) -> None:
    engine = place.open(SPEC)
    killed: list[int] = []

    def work(chunk: Sequence[int]) -> list[str]:
        return texts(engine, [f"wait {number}" for number in chunk])

    first = int(texts(engine, ["process"])[0])
    rows: list[str] = []
    for number, found in enumerate(place.executor.map(work, iter([[number] for number in range(16)]))):
        rows += found
        if number == 2:
            os.kill(first, signal.SIGKILL)
            killed.append(first)
    assert killed
    assert rows == [words(asked(f"wait {number}"), 0) for number in range(16)]


@pytest.mark.slow
def test_the_killed_actor_is_replaced(place: RayPlace) -> None:
    engine = place.open(SPEC)
    before = int(texts(engine, ["process"])[0])
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + 60
    seen: set[str] = set()
    while len(seen - {str(before)}) < 2 and time.monotonic() < deadline:
        chunks = iter([[0], [1], [2], [3]])
        for rows in place.executor.map(lambda chunk: texts(engine, ["process, wait"]), chunks):
            seen.update(rows)
    assert len(seen - {str(before)}) == 2


@pytest.mark.slow
def test_a_call_that_kills_every_actor_ends_with_an_error(place: RayPlace) -> None:
    engine = place.open(SPEC)
    with pytest.raises(RunError, match=r"3 actors died of one call.*Check the memory"):
        texts(engine, ["die"])
    assert texts(engine, ["and on"]) == [words(asked("and on"), 0)]


def test_another_model_at_the_same_path_is_refused(place: RayPlace) -> None:
    with pytest.raises(ModelError, match=r"own: node \S+ has another model in its place.*Copy the folder"):
        place.open(ModelSpec("folder", "own"))


def test_a_node_without_the_model_is_named(place: RayPlace) -> None:
    with (
        opening(place, ScriptedModels(only_in=os.getpid())) as lacking,
        pytest.raises(ModelError, match=r"lacking: node \S+ does not have this model: no such folder.*Copy"),
    ):
        lacking.open(ModelSpec("folder", "lacking"))  # no actor has opened it before


def test_an_actor_that_has_no_room_is_an_error(ray_here: Any) -> None:
    without_gpu = RayCluster(actors=1, gpus=1)
    with pytest.raises(RunError, match=r"has not started an actor.*--actor-gpus"), on_ray(without_gpu, patience=1.0):
        pass


def test_an_address_without_a_cluster_is_told_at_once(ray_here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_here, "is_initialized", lambda: False)  # as for a program that is not connected
    monkeypatch.setattr(ray_here, "shutdown", lambda: None)
    with pytest.raises(RunError, match=r"^--on ray:127\.0\.0\.1:9: no Ray cluster answers: .*ray start --head"):
        on_ray(RayCluster("127.0.0.1:9")).__enter__()
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:9")
    with pytest.raises(RunError, match=r"^RAY_ADDRESS=ray://127\.0\.0\.1:9: no Ray cluster answers"):
        on_ray(RayCluster()).__enter__()


def test_another_version_of_solon_on_a_node_is_refused() -> None:
    settings = EngineSettings()
    with pytest.raises(RunError, match=r"node far has solon 0\.0\.1, and this machine \S+\. Install the same version"):
        refuse_other_host(HostFacts("far", 1, "0.0.1", keyed(settings), {}), settings)


def test_another_number_format_on_a_node_is_refused() -> None:
    settings = EngineSettings()
    there = {**keyed(settings), "numbers": "bfloat16"}
    with pytest.raises(RecipeError, match=r"engine.dtype: node far asks models with numbers bfloat16 \(here float32\)"):
        refuse_other_host(HostFacts("far", 1, __version__, there, {}), settings)
    refuse_other_host(HostFacts("far", 1, __version__, keyed(settings), {}), settings)


def test_a_model_in_a_folder_gives_its_own_answers(place: RayPlace, tmp_path: Path) -> None:
    model_of("llama").save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    spec, settings = ModelSpec("folder", str(tmp_path / "model")), EngineSettings(threads=1)
    here, prompts = open_engine(spec, settings), [asked(QUESTION), asked(QUESTION[:20])]
    with opening(place, AnyModel()) as any_model:
        there = any_model.open(spec, settings)
        assert (there.name, there.window, there.dtype) == (here.name, here.window, here.dtype)
        assert there.generate(prompts, [1, 2], SAMPLING) == here.generate(prompts, [1, 2], SAMPLING)
        assert there.choose(prompts, [" A", " B"]) == here.choose(prompts, [" A", " B"])
        assert there.count_tokens(prompts[0]) == here.count_tokens(prompts[0])
        assert there.continuation(prompts[0], [" A", " B"]) == here.continuation(prompts[0], [" A", " B"])
        with pytest.raises(EngineError, match="fills the window"):
            there.generate([asked(QUESTION * 20)], [1], SAMPLING)
