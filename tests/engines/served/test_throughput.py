"""Many requests to a server with latency: the stated concurrency is used, and memory stays flat.

The ideal is what so many requests at once allow at the latency that the server had: on a busy machine its 50 ms take
longer.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from solon.config.recipe import SamplingParams, ServerSettings
from solon.config.served_model import ServedModel
from solon.engines.base import Finish
from solon.engines.served.message_rendering import MessageRendering
from solon.engines.served.served_engine import ServedEngine
from solon.engines.served.token_counts import TokenCounter
from solon.engines.served.wire_format import Interface, ServerAbilities
from solon.http.json_client import ClientSetup, JsonClient
from tests.engines.tiny import question
from tests.http.local_server import Answer, Received, serving

LATENCY = 0.05
CHUNK = 500


@contextmanager
def slow_engine(concurrency: int) -> Iterator[tuple[ServedEngine, list[float]]]:
    """The engine, and the seconds that the server took for each request."""
    latencies: list[float] = []

    async def respond(received: Received) -> Answer:
        server.received.clear()
        began = time.monotonic()
        await asyncio.sleep(LATENCY)
        latencies.append(time.monotonic() - began)
        text = received.body["messages"][0]["content"]
        choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
        return 200, {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 5}}

    with serving(respond) as server:
        client = JsonClient([f"{server.url}/v1"], ClientSetup(concurrency=concurrency))
        engine = ServedEngine(
            client,
            ServedModel("m", client.addresses),
            ServerAbilities(Interface.CHAT),
            rendering=MessageRendering(),
            counter=TokenCounter(client, "m", 4096),
            settings=ServerSettings(concurrency=concurrency),
        )
        yield engine, latencies
        assert server.most_at_once <= concurrency
        engine.close()


def share_of_ideal(engine: ServedEngine, latencies: list[float], requests: int, concurrency: int) -> float:
    """How much of the throughput of `concurrency` requests at once is reached."""
    latencies.clear()
    began = time.monotonic()
    for start in range(0, requests, CHUNK):
        count = min(CHUNK, requests - start)
        prompts = [question(f"question {start + number}") for number in range(count)]
        found = engine.generate(prompts, range(count), SamplingParams(max_tokens=20))
        assert [each.text for each in found] == [f"question {start + number}" for number in range(count)]
        assert {each.finish for each in found} == {Finish.END}
    return sum(latencies) / concurrency / (time.monotonic() - began)


def test_the_stated_concurrency_is_used() -> None:
    with slow_engine(8) as (engine, latencies):
        assert share_of_ideal(engine, latencies, 320, 8) > 0.4, "one request at a time would be 0.125"
        assert engine.client.tries == 320


@pytest.mark.slow
def test_ten_thousand_requests_reach_most_of_the_ideal_and_keep_memory_flat() -> None:
    with slow_engine(8) as (engine, latencies):
        share_of_ideal(engine, latencies, 1000, 8)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert share_of_ideal(engine, latencies, 10_000, 8) > 0.8
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 16 * 1024, f"{grown} KiB more"
