"""Dry runs without the models: what counts as absent, what stands in, and what is assumed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fake_hub import REPOSITORY, put_in_cache, tiny_files

from solon.config.known_shapes import KNOWN_SHAPES
from solon.config.loading import load_recipe
from solon.config.planning_settings import PlanningSettings
from solon.config.recipe import Recipe, SamplingParams
from solon.conversation import Conversation, Role, Turn
from solon.model_folders.model_shape import ModelShape
from solon.pipeline.absent_models import StandIn, absent_models, planned_speed, shape_of
from solon.pipeline.cost import Speed
from solon.prompts import reply

SERVED = "openai:judge@http://127.0.0.1:{}"
GPU = {"memory_gb": 80, "tflops": 100, "bandwidth_gb": 1000}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # whoever looks there fails
    return tmp_path / "cache"


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine where somebody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield int(server.getsockname()[1])


def recipe(**parts: object) -> Recipe:
    return Recipe.model_validate({"engine": {"dtype": "bfloat16", "batch_size": 10}, **parts})


def test_uncached_models_and_silent_servers_are_absent(tmp_path: Path, cache: Path, port: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    silent, answering = SERVED.format(closed), SERVED.format(port)
    named = recipe(models={"assistant": f"hf:{REPOSITORY}", "critic": silent, "feedback": [answering, silent]})
    found = absent_models(named)
    assert set(found) == {f"hf:{REPOSITORY}", silent}
    assert f"nothing answers at http://127.0.0.1:{closed}/v1" in found[silent]
    (tmp_path / "made").mkdir()
    put_in_cache(cache, tiny_files(tmp_path / "made"))
    assert set(absent_models(named)) == {silent}
    assert absent_models(load_recipe("testbed")) == {}


def test_shapes_come_from_the_folder_then_the_name_then_the_planned_size(tmp_path: Path, cache: Path) -> None:
    known, sized = "hf:Qwen/Qwen2.5-7B-Instruct", "openai:big@http://127.0.0.1:9"
    given = recipe(planning={"sizes": {sized: 70e9, known: 1e9}})
    assert shape_of(known, given) == ModelShape.known(KNOWN_SHAPES["Qwen/Qwen2.5-7B-Instruct"])
    assert shape_of(sized, given) == ModelShape.typical(70e9)
    assert shape_of("hf:some-org/other", given) is None
    put_in_cache(cache, tiny_files(tmp_path))
    found = shape_of(f"hf:{REPOSITORY}", given)
    assert found is not None and found.parameters < 1e6


def test_speeds_are_arithmetic_on_the_planned_gpu() -> None:
    name = "openai:big@http://127.0.0.1:9"
    given = recipe(planning={"sizes": {name: 10e9}, "gpu": GPU, "step_seconds": 0.001})
    # 100 TFLOP/s at 30 % over 20 GFLOP a token; 20 GB at 500 GB/s are 0.04 s for a token of ten rows.
    speed = planned_speed(name, given)
    assert speed is not None and (speed.reading, speed.writing) == pytest.approx((1500, 250))
    slow = recipe(planning={"sizes": {name: 1e9}, "gpu": GPU, "step_seconds": 0.1})
    assert planned_speed(name, slow) == Speed(pytest.approx(15000), pytest.approx(100))
    assert planned_speed(name, recipe(planning={"sizes": {name: 10e9}})) is None
    assert planned_speed(name, recipe(planning={"gpu": GPU})) is None
    told = recipe(planning={"speeds": {name: {"reading": 7, "writing": 3}}})
    assert planned_speed(name, told) == Speed(7, 3)


def test_a_stand_in_counts_characters_and_writes_a_share_of_the_limit() -> None:
    engine = StandIn("absent", PlanningSettings(characters_per_token=2, answer_share=0.25))
    question = reply(Conversation((Turn(Role.HUMAN, "x" * 100),)))
    text = "".join(engine.rendering.render(question))
    assert engine.count_tokens(question) == -(-len(text) // 2)
    (answer,) = engine.generate([question], [0], SamplingParams(max_tokens=80))
    assert answer.tokens_written == 20 and len(answer.text.split()) == 20
    (chosen,) = engine.choose([question], ("A", "B"))
    assert chosen[0] == chosen[1]
