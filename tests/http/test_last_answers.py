"""What was sent before the work is stopped by a budget or a refused key: it is answered, given and counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from solon.config.server_settings import ServerSettings
from solon.errors import EngineError
from solon.http import json_client
from solon.http.json_client import ClientSetup, JsonClient
from solon.http.retry_policy import RequestFailure, RetryPolicy
from solon.http.spending import UNLIMITED, TokenCount
from tests.http.local_server import Answer, LocalServer, Received, serving
from tests.http.test_json_client import NEED, request

CONCURRENCY = 8
USED = {"prompt_tokens": 4, "completion_tokens": 2}


@contextmanager
def asked(server: LocalServer, limits: ServerSettings = UNLIMITED, timeout: float = 9.0) -> Iterator[JsonClient]:
    client = JsonClient([server.url], ClientSetup(RetryPolicy((0.01,), timeout), None, CONCURRENCY, limits))
    yield client
    client.close()


def answers_of(client: JsonClient, count: int) -> tuple[list[int], Exception]:
    """The numbers of the requests that were answered, in order, and what stopped the work."""
    found: list[int] = []
    with pytest.raises((RequestFailure, EngineError)) as caught:
        for arrived in client.answers([request(number) for number in range(count)]):
            found += [number for number, _ in arrived]
    return sorted(found), caught.value


def test_a_budget_throws_no_answer_away() -> None:
    async def respond(received: Received) -> Answer:
        await asyncio.sleep(0.02 + 0.02 * (received.body["number"] % CONCURRENCY))
        return 200, {"answer": 7, "usage": USED}

    with serving(respond) as server, asked(server, ServerSettings(max_requests=20)) as client:
        found, error = answers_of(client, 40)
        assert "max_requests=20" in str(error)
        assert found == list(range(20)) and len(server.received) == 20
        assert client.ledger.requests == 20 and client.ledger.tokens == TokenCount(20 * 4, 20 * 2)


def test_a_refused_key_lets_the_others_be_answered_and_sends_nothing_more() -> None:
    async def respond(received: Received) -> Answer:
        if received.body["number"] == 3:
            return 403, {"error": "quota"}
        await asyncio.sleep(0.2)
        return (500, {"error": "no"}) if received.body["number"] == 5 else (200, {"answer": 7, "usage": USED})

    with serving(respond) as server, asked(server) as client:
        found, error = answers_of(client, 40)
        assert "answered 403" in str(error), "the first one"
        assert found == [0, 1, 2, 4, 6, 7] and len(server.received) == CONCURRENCY, "and 5 is not tried again"


def test_an_answer_that_does_not_come_is_counted_and_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json_client, "LAST_ANSWERS", 0.3)

    async def respond(received: Received) -> Answer:
        if received.body["number"] == 0:
            await asyncio.sleep(0.1)
            return 401, {"error": "no key"}
        await asyncio.sleep(60)
        return 200, {}

    with serving(respond) as server, asked(server, timeout=60.0) as client:
        began = time.monotonic()
        found, error = answers_of(client, 4)
        assert "answered 401" in str(error) and found == [] and time.monotonic() - began < 5
        assert client.ledger.tokens == TokenCount(3 * NEED.prompt, 3 * NEED.completion)


def test_the_client_can_be_asked_again_after_an_error() -> None:
    refused = [True]

    async def respond(received: Received) -> Answer:
        return (401, {"error": "no key"}) if refused[0] else (200, {"answer": received.body["number"]})

    with serving(respond) as server, asked(server) as client:
        answers_of(client, 20)
        refused[0] = False
        assert client.ask([request(number) for number in range(20)]) == list(range(20))
        assert client.pool.servers[0].in_flight == 0
