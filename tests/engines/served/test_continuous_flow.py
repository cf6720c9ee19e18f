"""Chunks that ask a server flow: no pause between chunks, the rows of one chunk after the other, no answer lost."""

from __future__ import annotations

import asyncio
import json
import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from solon.config.recipe import SamplingParams, ServerSettings
from solon.config.served_model import ServedModel
from solon.engines.base import Completion
from solon.engines.cached import CachedEngine
from solon.engines.scripted import ScriptedEngine
from solon.engines.served.message_rendering import MessageRendering
from solon.engines.served.served_engine import ServedEngine
from solon.engines.served.token_counts import TokenCounter
from solon.engines.served.wire_format import Interface, ServerAbilities
from solon.errors import EngineError
from solon.http.json_client import ClientSetup, JsonClient
from solon.http.request_flow import RequestFlow
from solon.http.retry_policy import RetryPolicy
from solon.runs import StageFolder
from solon.runs.chunk_flow import ChunkFlow
from solon.runs.executor import InProcess
from solon.runs.interrupt import Interrupted
from solon.runs.progress import Progress
from solon.runs.response_cache import ResponseCache, response_cache_in
from tests.engines.tiny import question
from tests.http.local_server import Answer, LocalServer, Received, serving
from tests.row_types import IdRow
from tests.stages.workbench import Bench

CONCURRENCY = 4
CHUNK = 16
FAST, SLOW = 0.03, 0.6


@dataclass
class Served:
    """A server, whose `respond` may be exchanged, and the engine of its model."""

    server: LocalServer
    engine: ServedEngine
    flow: RequestFlow
    asked: list[str] = field(default_factory=list)
    """The questions in the order in which they came."""
    seconds: list[float] = field(default_factory=list)
    """How long the server took for each."""


@contextmanager
def served(pause: Callable[[str], float], fails: Callable[[str], bool] = lambda text: False) -> Iterator[Served]:
    """A server that takes its time and repeats each question with its seed."""

    async def respond(received: Received) -> Answer:
        text = received.body["messages"][0]["content"]
        here.asked.append(text)
        here.server.received.clear()
        began = time.monotonic()
        await asyncio.sleep(pause(text))
        here.seconds.append(time.monotonic() - began)
        if fails(text):
            return 401, {"error": "no key"}
        choice = {"index": 0, "message": {"content": f"{text} {received.body['seed']}"}, "finish_reason": "stop"}
        return 200, {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 5}}

    with serving(respond) as server:
        client = JsonClient([f"{server.url}/v1"], ClientSetup(RetryPolicy((), 20.0), concurrency=CONCURRENCY))
        engine = ServedEngine(
            client,
            ServedModel("m", client.addresses),
            ServerAbilities(Interface.CHAT),
            rendering=MessageRendering(),
            counter=TokenCounter(client, "m", 4096),
            settings=ServerSettings(concurrency=CONCURRENCY),
        )
        here = Served(server, engine, RequestFlow())
        engine.join(here.flow)
        yield here
        engine.close()


def slow_at_the_start_of_a_chunk(text: str) -> float:
    return SLOW if int(text) % CHUNK == 0 else FAST


def asked_of(engine: Any) -> Callable[[Sequence[int]], list[IdRow]]:
    """Work that asks one question for each number."""

    def work(numbers: Sequence[int]) -> list[IdRow]:
        prompts = [question(str(number)) for number in numbers]
        completions: list[Completion] = engine.generate(prompts, list(numbers), SamplingParams(max_tokens=9))
        return [IdRow(completion.text) for completion in completions]

    return work


def rows_of(count: int) -> list[IdRow]:
    return [IdRow(f"{number} {number}") for number in range(count)]


def cached(here: Served, answers: ResponseCache) -> CachedEngine:
    return CachedEngine(here.engine, "m", "stage", answers)


def answered(cache: Path) -> int:
    """How many answers are on the disk."""
    with sqlite3.connect(f"file:{cache / 'answers.sqlite'}?mode=ro", uri=True) as connection:
        (count,) = connection.execute("SELECT COUNT(*) FROM answers").fetchone()
    connection.close()
    return int(count)


def mapped(out: StageFolder, work: Callable[[Sequence[int]], list[IdRow]], count: int) -> list[IdRow]:
    return out.map("asked", range(count), work, row=IdRow, chunk=CHUNK)


def journalled(out: StageFolder) -> list[dict[str, Any]]:
    records = [json.loads(line)["record"] for line in (out.path / "journal.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


def test_slow_requests_hold_up_nobody_and_rows_and_journal_stay_the_same(tmp_path: Path) -> None:
    count = 10 * CHUNK
    reports: list[Progress] = []
    with served(slow_at_the_start_of_a_chunk) as here:
        out = Bench(tmp_path / "flow").out("stage")
        out.executor, out.report_to = ChunkFlow(here.flow, out.stop), reports.append
        with response_cache_in(tmp_path) as answers:
            began = time.monotonic()
            assert mapped(out, asked_of(cached(here, answers)), count) == rows_of(count)
            took = time.monotonic() - began
        ideal = sum(here.seconds) / CONCURRENCY
        assert len(here.asked) == count and here.server.most_at_once == CONCURRENCY
        # One chunk after the other waits for ten slow requests, which alone takes more than twice the ideal.
        assert took < 1.6 * ideal and 2 * ideal < 10 * SLOW, f"{took:.2f} s, ideal {ideal:.2f} s"
        done = [each.done for each in reports]
        assert done == [CHUNK * number for number in range(11)] and {each.total for each in reports} == {count}
        # Half-way, the time left is about what the second half took.
        left = reports[5].seconds_left
        assert left is not None and 0.4 < left / (took / 2) < 2.5
    serial = Bench(tmp_path / "serial").out("stage")
    assert isinstance(serial.executor, InProcess)
    with served(lambda text: 0.0) as here:
        assert mapped(serial, asked_of(here.engine), count) == rows_of(count)
    assert journalled(out) == journalled(serial)


def test_only_so_many_chunks_are_taken_ahead_of_one_that_hangs(tmp_path: Path) -> None:
    released = threading.Event()

    def pause(text: str) -> float:
        if int(text):
            return 0.0
        threading.Timer(1.5, released.set).start()
        return 1.5

    with served(pause) as here:
        taken: list[int] = []

        def chunks() -> Iterator[Sequence[int]]:
            for number in range(60):
                taken.append(number)
                yield range(2 * number, 2 * number + 2)

        with response_cache_in(tmp_path) as answers:
            results = ChunkFlow(here.flow, Bench(tmp_path / "b").out("s").stop).map(
                asked_of(cached(here, answers)), chunks()
            )
            assert next(results) == rows_of(2)
            assert released.is_set() and len(taken) == 2 * CONCURRENCY
            assert [row for rows in results for row in rows] == rows_of(120)[2:]


def test_work_that_asks_no_server_goes_on_one_chunk_after_the_other(tmp_path: Path) -> None:
    at_once: list[int] = []
    working: list[int] = []

    def text(prompt: Any, seed: int) -> str:
        working.append(seed)
        at_once.append(len(working))
        time.sleep(0.002)
        working.remove(seed)
        return f"{seed} {seed}"

    out = Bench(tmp_path).out("stage")
    out.executor = ChunkFlow(RequestFlow(), out.stop)
    assert mapped(out, asked_of(ScriptedEngine(text)), 5 * CHUNK) == rows_of(5 * CHUNK)
    assert set(at_once) == {1}


def test_a_model_of_this_process_is_asked_by_one_thread_at_a_time(tmp_path: Path) -> None:
    working: list[int] = []
    at_once: list[int] = []

    def text(prompt: Any, seed: int) -> str:
        working.append(seed)
        at_once.append(len(working))
        time.sleep(0.002)
        working.remove(seed)
        return "here"

    out = Bench(tmp_path).out("stage")
    with served(lambda text: FAST) as here, response_cache_in(tmp_path) as answers:
        out.executor = ChunkFlow(here.flow, out.stop)
        there, local = asked_of(cached(here, answers)), CachedEngine(ScriptedEngine(text), "l", "stage", answers)

        def both(numbers: Sequence[int]) -> list[IdRow]:
            rows = there(numbers)
            return rows if asked_of(local)(numbers) else []

        assert mapped(out, both, 4 * CHUNK) == rows_of(4 * CHUNK)
    assert set(at_once) == {1} and len(at_once) == 4 * CHUNK


def test_an_error_comes_at_its_chunk_s_turn_and_answers_before_and_after_it_are_kept(tmp_path: Path) -> None:
    bad = str(2 * CHUNK + 3)
    out = Bench(tmp_path).out("stage")

    def pause(text: str) -> float:
        return 10 * FAST if text == bad else FAST

    with served(pause, lambda text: text == bad) as here, response_cache_in(tmp_path) as answers:
        out.executor = ChunkFlow(here.flow, out.stop)
        with pytest.raises(EngineError, match="answered 401"):
            mapped(out, asked_of(cached(here, answers)), 6 * CHUNK)
        assert len(journalled(out)) == 2
        kept = answered(tmp_path)
        assert kept > 2 * CHUNK, "more than the chunks before it"
        before = len(here.asked)
    again = Bench(tmp_path).out("stage")
    with served(lambda text: 0.0) as here, response_cache_in(tmp_path) as answers:
        again.executor = ChunkFlow(here.flow, again.stop)
        assert mapped(again, asked_of(cached(here, answers)), 6 * CHUNK) == rows_of(6 * CHUNK)
        assert len(here.asked) == 6 * CHUNK - kept
        assert kept == before - 1, "nothing is thrown away but the refusal"


def test_a_stop_has_everything_answered_that_was_sent_and_nothing_is_asked_again(tmp_path: Path) -> None:
    count = 8 * CHUNK
    out = Bench(tmp_path).out("stage")

    def pause(text: str) -> float:
        if text == str(CHUNK + 9):
            out.stop.made = True
        return slow_at_the_start_of_a_chunk(text)

    with served(pause) as here, response_cache_in(tmp_path) as answers:
        out.executor = ChunkFlow(here.flow, out.stop)
        with pytest.raises(Interrupted):
            mapped(out, asked_of(cached(here, answers)), count)
        first = list(here.asked)
        assert answered(tmp_path) == len(first) < 6 * CHUNK
        assert not [each for each in threading.enumerate() if each.name == "solon-chunk"]
    again = Bench(tmp_path).out("stage")
    with served(lambda text: 0.0) as here, response_cache_in(tmp_path) as answers:
        again.executor = ChunkFlow(here.flow, again.stop)
        assert mapped(again, asked_of(cached(here, answers)), count) == rows_of(count)
        assert sorted(first + here.asked, key=int) == [str(number) for number in range(count)]


def test_the_engine_can_be_asked_after_a_stop(tmp_path: Path) -> None:
    with served(lambda text: FAST) as here, response_cache_in(tmp_path) as answers:
        stop = Bench(tmp_path / "b").out("s").stop
        chunks = iter([range(start, start + 4) for start in range(0, 40, 4)])
        results = ChunkFlow(here.flow, stop).map(asked_of(cached(here, answers)), chunks)
        next(results)
        results.close()
        assert asked_of(here.engine)(range(3)) == rows_of(3)


@pytest.mark.slow
def test_ten_thousand_requests_through_chunks_reach_most_of_the_ideal_and_keep_memory_flat(tmp_path: Path) -> None:
    count, latency = 10_000, 0.05
    with served(lambda text: latency) as here, response_cache_in(tmp_path) as answers:
        work = asked_of(cached(here, answers))

        def streamed(phase: str, size: int) -> float:
            """How much of the ideal throughput is reached."""
            here.seconds.clear()
            began = time.monotonic()
            rows = out.stream(phase, range(10 * size, 11 * size), work, row=IdRow, chunk=CHUNK)
            took = time.monotonic() - began
            assert rows[-1] == IdRow(f"{11 * size - 1} {11 * size - 1}")
            return sum(here.seconds) / CONCURRENCY / took

        out = Bench(tmp_path / "b").out("s")
        out.executor = ChunkFlow(here.flow, out.stop)
        streamed("warm", 1000)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # Six busy processes on two cores left 0.76.
        assert streamed("whole", count) > 0.7
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 24 * 1024, f"{grown} KiB more"
        assert answered(tmp_path) == count + 1000
