"""Prompts whose tokens only the server can count are counted by as many requests at once as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from solon.config.recipe import SamplingParams
from solon.config.served_model import ServedModel
from solon.conversation import Prompt
from solon.engines.base import Engine, count_many
from solon.engines.cached import CachedEngine
from solon.engines.recording import RecordingEngine
from solon.engines.served.message_rendering import MessageRendering
from solon.engines.served.served_engine import ServedEngine
from solon.engines.served.token_counts import COUNT_REQUESTS, TokenCounter
from solon.engines.served.wire_format import Interface, ServerAbilities
from solon.feedback.ask import TOO_LONG, ask
from solon.feedback.letters import LetterForm, UndecidedReason, count_votes, read_letters
from solon.http.json_client import ClientSetup, JsonClient
from solon.runs import ResponseCache
from tests.engines.tiny import question
from tests.http.local_server import Answer, LocalServer, Received, serving

LATENCY = 0.05
WINDOW = 100
CONCURRENCY = 8
PROMPTS = [question(f"question {number} {'word ' * 40}") for number in range(24)]
"""Too long for the window, so that nothing but their tokens is asked for."""


@contextmanager
def counting() -> Iterator[tuple[ServedEngine, LocalServer]]:
    """An engine whose server has nothing but a request that counts words, and takes its time for it."""

    async def respond(received: Received) -> Answer:
        await asyncio.sleep(LATENCY)
        assert received.path == "/tokenize"
        return 200, {"count": WINDOW + len(received.body["prompt"].split())}

    with serving(respond) as server:
        client = JsonClient([f"{server.url}/v1"], ClientSetup(concurrency=CONCURRENCY))
        yield (
            ServedEngine(
                client,
                ServedModel("m", client.addresses),
                ServerAbilities(Interface.CHAT),
                rendering=MessageRendering(),
                counter=TokenCounter(client, "m", WINDOW, COUNT_REQUESTS[0]),
            ),
            server,
        )
        client.close()


def asked(engine: Engine) -> None:
    """As stages ask for texts."""
    sampling = SamplingParams(max_tokens=8)
    assert ask(engine, PROMPTS, range(len(PROMPTS)), sampling) == [TOO_LONG] * len(PROMPTS)


def letters_read(engine: Engine) -> None:
    """As a judge's letters are read."""
    found = read_letters(engine, dict(enumerate(PROMPTS)), LetterForm.WITH_BRACKET)
    assert set(found.values()) == {UndecidedReason.TOO_LONG}


def votes_counted(engine: Engine) -> None:
    """As a judge's votes are counted."""
    questions = dict(enumerate(PROMPTS))
    assert set(count_votes(engine, questions, {key: [1, 2] for key in questions}).values()) == {
        UndecidedReason.TOO_LONG
    }


@pytest.mark.parametrize("does", [asked, letters_read, votes_counted])
def test_prompts_are_counted_at_once_and_each_only_once(does: Callable[[Engine], None]) -> None:
    with counting() as (engine, server):
        does(engine)
        assert len(server.received) == len(PROMPTS)
        assert server.most_at_once == CONCURRENCY, "one request at a time would be 1"


@pytest.mark.parametrize("wrapped", ["cached", "recording"])
def test_engines_around_one_that_counts_together_count_together(tmp_path: Path, wrapped: str) -> None:
    with counting() as (engine, server):
        outer: Engine = RecordingEngine(engine)
        if wrapped == "cached":
            outer = CachedEngine(engine, "m", "stage", ResponseCache(tmp_path))
        assert count_many(outer, PROMPTS) == _expected(PROMPTS)
        assert server.most_at_once == CONCURRENCY


def _expected(prompts: Sequence[Prompt]) -> list[int]:
    return [WINDOW + len("".join(MessageRendering().render(prompt)).split()) for prompt in prompts]
