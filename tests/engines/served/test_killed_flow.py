"""A run that asks a server and is killed, or told to stop, amid its chunks: what its continuation asks again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from solon.runs import RunDirectory
from solon.runs.response_cache import recorded_usage
from solon.runs.rows import ReplyRow
from tests.http.local_server import Answer, LocalServer, Received, serving

CHUNK = 16
CONCURRENCY = 4
AT_FIRST = 22
"""So many questions are answered before the server keeps all others waiting: one chunk and a part of the next."""
PATIENCE = 120.0


@dataclass
class Course:
    """A server that answers some questions and then keeps all others waiting, until `released`."""

    seeds: list[int] = field(default_factory=list)
    """The seed of every question, in the order in which they came."""
    answered: Counter[int] = field(default_factory=Counter)
    released: bool = False

    async def respond(self, received: Received) -> Answer:
        if received.method == "GET":
            return 200, {"data": [{"id": "m", "max_model_len": 4096}]}
        if received.path != "/v1/chat/completions":
            return 404, {"error": "nothing here"}
        seed = received.body["seed"]
        if received.body["max_tokens"] > 1:
            self.seeds.append(seed)
            number = len(self.seeds)
            while number > AT_FIRST and not self.released:
                await asyncio.sleep(0.02)
            self.answered[seed] += 1
        choice = {"index": 0, "message": {"content": f"My number is {seed}."}, "finish_reason": "stop"}
        return 200, {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 21, "completion_tokens": 9}}


@contextmanager
def session(run: Path, server: LocalServer) -> Iterator[subprocess.Popen[str]]:
    settings = {
        "models.assistant": f"openai:m@{server.url}",
        "models.pretrained": "testbed:pretrained",
        "engine.rendering": "auto",
        "engine.batch_size": CHUNK,
        "engine.server.concurrency": CONCURRENCY,
        "prompts.limit_red_team": 45,
        "prompts.limit_helpful": 5,
    }
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    command = [
        sys.executable,
        "-m",
        "solon.cli",
        "run",
        str(run),
        "--recipe",
        "testbed",
        *given,
        "--until",
        "responses",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"}
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def stored(run: Path) -> int:
    return sum(usage.answers for usage in recorded_usage(run).values())


def wait_until_stored(run: Path, count: int, process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + PATIENCE
    while stored(run) < count:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < ends, f"{stored(run)} answers"
        time.sleep(0.05)


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_no_answer_that_the_server_gave_is_asked_for_again(tmp_path: Path, by: signal.Signals) -> None:
    run, course = tmp_path / "run", Course()
    with serving(course.respond) as server:
        with session(run, server) as process:
            wait_until_stored(run, AT_FIRST, process)
            process.send_signal(by)
            if by is signal.SIGTERM:
                time.sleep(1.0)
                course.released = True
            code = process.wait(PATIENCE)
        assert code == (-signal.SIGKILL if by is signal.SIGKILL else 130)
        first = list(course.seeds)
        assert stored(run) == AT_FIRST if by is signal.SIGKILL else stored(run) == len(first)
        course.released = True
        time.sleep(0.2)
        course.seeds.clear()
        with session(run, server) as process:
            said, _ = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, said
    (responses,) = [each for each in RunDirectory.open(run).artefacts() if each.name == "responses"]
    rows = responses.rows(ReplyRow)
    again = set(first) & set(course.seeds)
    waited = set(first[AT_FIRST:])
    assert len(rows) == len(set(first) | set(course.seeds)) > 3 * CHUNK
    if by is signal.SIGKILL:
        # Only the requests that were in flight: the server had not answered them.
        assert again == waited and len(waited) == CONCURRENCY
    else:
        assert not again and waited
    assert len(course.seeds) == len(rows) - len(first) + len(again)
