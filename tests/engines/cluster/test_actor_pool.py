"""A pool of actors and the threads that ask it: nobody waits for ever, and nobody gives up too early."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.engines.cluster.models_on_ray import SPEC, ScriptedModels, asked, words
from tests.engines.cluster.ray_in_threads import RayInThreads

from solon.config.recipe import EngineSettings
from solon.config.settings import SamplingParams
from solon.engines.base import Engine
from solon.engines.cached import CachedEngine
from solon.engines.cluster.actor_calls import EngineOrder
from solon.engines.cluster.actor_pool import ActorPool
from solon.engines.cluster.cluster_engine import ClusterEngine
from solon.errors import RunError
from solon.runs.chunk_threads import ChunkThreads, Exclusive
from solon.runs.response_cache import response_cache_in

SAMPLING = SamplingParams()
ORDER = EngineOrder(SPEC, EngineSettings(), "scripted", ScriptedModels())


class Slow(queue.SimpleQueue):  # type: ignore[type-arg]
    """A queue whose readers are suspended for a moment as soon as they have an item, as threads may be."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        found = super().get(block, timeout)
        time.sleep(0.5)
        return found


@pytest.fixture
def ray() -> RayInThreads:
    return RayInThreads()


@pytest.fixture
def pool(ray: RayInThreads) -> Iterator[ActorPool]:
    made = ActorPool(ray, EngineSettings(), lambda facts: None, Exclusive(), patience=30.0)
    made.start(1, 1.0, 0.0)
    made.open_here = lambda: [ORDER.key]
    yield made
    made.close()


def texts(engine: Engine, numbers: Sequence[int]) -> list[str]:
    prompts = [asked(f"wait {number}") for number in numbers]
    return [each.text for each in engine.generate(prompts, list(numbers), SAMPLING)]


def test_chunks_that_ask_actors_through_the_cache_of_answers_do_not_wait_for_each_other(
    pool: ActorPool, tmp_path: Path
) -> None:
    executor = ChunkThreads(3, pool.exclusive)
    with response_cache_in(tmp_path) as answers:
        engine = CachedEngine(ClusterEngine(pool, ORDER), "m", "stage", answers)
        found: list[str] = []

        def read() -> None:
            for rows in executor.map(lambda chunk: texts(engine, chunk), iter([[number] for number in range(5)])):
                found.extend(rows)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        reader.join(30)
        assert found == [words(asked(f"wait {number}"), number) for number in range(5)]


def test_an_actor_that_a_thread_has_just_taken_is_not_gone(pool: ActorPool) -> None:
    engine = ClusterEngine(pool, ORDER)
    slow: Any = Slow()
    slow.put(pool._idle.get())
    pool._idle = slow
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda number: texts(engine, [number]), range(3)))
    assert found == [[words(asked(f"wait {number}"), number)] for number in range(3)]


def test_a_lost_answer_is_asked_for_again(pool: ActorPool, ray: RayInThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, lost, get = ClusterEngine(pool, ORDER), [ray.exceptions.ObjectLostError("its node is gone")], ray.get

    def losing(reference: Any) -> Any:
        if lost:
            raise lost.pop()
        return get(reference)

    monkeypatch.setattr(ray, "get", losing)
    assert texts(engine, [1]) == [words(asked("wait 1"), 1)]


def test_who_waits_for_an_actor_is_told_when_the_pool_closes_and_ray_is_not_asked_again(
    pool: ActorPool, ray: RayInThreads
) -> None:
    taken = pool._take()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pool.ask, ORDER, lambda engine: engine.name)
        pool.close()
        before = ray.waited
        with pytest.raises(RunError, match="they were stopped"):
            waiting.result(20)
    assert ray.killed == [taken] and ray.waited == before
