"""The server, asked over real connections: the same scores as without it, and errors that say what to do."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from solon.config.recipe import EngineSettings
from solon.conversation import Conversation, conversation_of
from solon.errors import EngineError
from solon.reward.conversation_scorer import CENTRE
from solon.reward.remote import RemoteScorer
from solon.reward.scorer import PreferenceScorer, Zero, open_scorer
from solon.reward.server.batching import Limits
from solon.reward.server.server import PreferenceServer, Service
from solon.training import models
from tests.training.tiny import asked, save_tiny_model, texts_of

CONCURRENT = 64
SETTINGS = EngineSettings(threads=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    tokenizer = models.load_tokenizer(save_tiny_model(folder / "tiny"))
    grown = models.grow_preference_model(folder / "tiny", tokenizer, SETTINGS, seed=1)
    setattr(grown.config, CENTRE, 0.75)
    models.save_model(grown, texts_of(tokenizer), folder / "pm")
    return folder / "pm"


@pytest.fixture(scope="module")
def scorer(model: Path) -> PreferenceScorer:
    return open_scorer(model, SETTINGS)


@pytest.fixture
def server(scorer: PreferenceScorer) -> Iterator[PreferenceServer]:
    server = PreferenceServer(scorer, Service(port=0, max_body=100_000, max_texts=10), SETTINGS, Limits(wait=0.05))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    server.drain()
    thread.join()


def dialogue(number: int) -> Conversation:
    return conversation_of(asked(f"How do I bake {'bread ' * (number % 9)}{number} ?")).with_reply(f"First {number} .")


def ask(server: PreferenceServer, path: str, body: object, method: str = "POST") -> tuple[int, Any]:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=60)
    try:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, content if method == "POST" else None)
        answer = connection.getresponse()
        assert answer.headers["Content-Type"] == "application/json"
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_64_concurrent_calls_in_openrlhfs_form_get_the_same_scores(
    server: PreferenceServer, scorer: PreferenceScorer
) -> None:
    dialogues = [dialogue(number) for number in range(CONCURRENT)]
    expected = scorer.score(scorer.tokens(dialogues))
    together = threading.Barrier(CONCURRENT)

    def call(conversation: Conversation) -> tuple[int, Any]:
        together.wait(60)
        text = scorer.texts.text(conversation)
        return ask(server, "/get_reward", {"query": [text], "prompts": [text[:9]], "labels": [None]})

    with ThreadPoolExecutor(CONCURRENT) as pool:
        answers = list(pool.map(call, dialogues))
    assert {status for status, _ in answers} == {200}
    assert all(set(answer) == {"rewards", "scores", "extra_logs"} for _, answer in answers)
    for name in ("rewards", "scores"):
        assert [answer[name][0] for _, answer in answers] == pytest.approx(expected, abs=1e-5)
    assert len(set(expected)) == CONCURRENT, "or one answer for all would pass"
    health = ask(server, "/health", None, "GET")[1]
    assert health["answered"] == CONCURRENT and health["batches"] < CONCURRENT / 2


def test_messages_and_texts_get_the_same_scores_in_order(server: PreferenceServer, scorer: PreferenceScorer) -> None:
    dialogues = [dialogue(number) for number in range(7)]
    status, by_messages = ask(server, "/score", {"messages": [each.messages() for each in dialogues]})
    _, by_texts = ask(server, "/get_reward", {"query": [scorer.texts.text(each) for each in dialogues]})
    assert status == 200
    assert by_messages["scores"] == pytest.approx(by_texts["rewards"], abs=1e-5)
    raw = scorer.score(scorer.tokens(dialogues), Zero.RAW)
    assert by_messages["scores"] == pytest.approx([score - 0.75 for score in raw], abs=1e-5)
    assert ask(server, "/score", {"messages": []}) == (200, {"scores": []})


def test_health_says_what_is_served(server: PreferenceServer) -> None:
    status, health = ask(server, "/health", None, "GET")
    assert (status, health["status"], health["model"], health["centre"]) == (200, "ok", "pm", 0.75)
    assert health["window"] == 128


@pytest.mark.parametrize(
    ("path", "body", "status", "why"),
    [
        ("/get_reward", b"{broken", 400, "broken JSON"),
        ("/get_reward", b"\xff\xfe", 400, "broken JSON"),
        ("/get_reward", b"[" * 50_000, 400, "broken JSON"),
        ("/get_reward", [], 400, "one JSON object"),
        ("/get_reward", {}, 400, "'query' must be a list of texts"),
        ("/get_reward", {"query": "one"}, 400, "'query' must be a list of texts"),
        ("/get_reward", {"query": [None]}, 400, "'query' must be a list of texts"),
        ("/get_reward", {"query": ["x"] * 11}, 413, "At most 10"),
        ("/get_reward", {"query": ["fine", "bread " * 200]}, 422, "text 1: "),
        ("/get_reward", {"query": ["half \ud800 a character"]}, 422, ""),
        ("/get_reward", b" " * 200_000, 413, "At most 100000"),
        ("/score", {"messages": asked("x")}, 400, "'messages' must be a list of conversations"),
        ("/score", {"messages": [asked("x")]}, 400, "is not a prompt with a reply"),
        ("/score", {"messages": [[{"role": "robot", "content": "x"}]]}, 422, "role"),
        ("/elsewhere", {}, 404, "/get_reward"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_json(
    server: PreferenceServer, path: str, body: object, status: int, why: str
) -> None:
    found, answer = ask(server, path, body)
    assert (found, set(answer)) == (status, {"error"})
    assert why in answer["error"] and "\n" not in answer["error"]
    assert ask(server, "/get_reward", {"query": ["still there"]})[0] == 200


def exchange(server: PreferenceServer, sent: bytes) -> bytes:
    with socket.create_connection(server.server_address[:2], timeout=60) as connection:
        connection.sendall(sent)
        received = b""
        while piece := connection.recv(1 << 16):
            received += piece
        return received


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /score HTTP/1.1\r\nHost: a\r\n\r\n", b"411"),
        (b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", b"411"),
        (b"BREW /tea HTTP/1.1\r\nHost: a\r\n\r\n", b"501"),
    ],
)
def test_requests_that_are_none_get_json_and_a_closed_connection(
    server: PreferenceServer, sent: bytes, status: bytes
) -> None:
    head, _, body = exchange(server, sent).partition(b"\r\n\r\n")
    assert status in head.splitlines()[0]
    assert set(json.loads(body)) == {"error"}


def test_a_connection_serves_many_requests(server: PreferenceServer) -> None:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=60)
    for number in range(3):
        connection.request("POST", "/get_reward", json.dumps({"query": [f"text {number}"]}))
        assert connection.getresponse().read()
    sock = connection.sock
    connection.request("GET", "/nowhere")
    assert connection.getresponse().read() and connection.sock is sock
    connection.close()


def test_a_taken_port_gives_one_line(server: PreferenceServer, scorer: PreferenceScorer) -> None:
    with pytest.raises(EngineError, match=r"cannot listen.*--port"):
        PreferenceServer(scorer, Service(port=server.server_address[1]), SETTINGS)


def test_an_address_of_the_new_kind_is_served_too(scorer: PreferenceScorer) -> None:
    try:
        server = PreferenceServer(scorer, Service(host="::1", port=0), SETTINGS)
    except EngineError:
        pytest.skip("this machine has no IPv6")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    assert server.url.startswith("http://[::1]:")
    try:
        assert len(RemoteScorer(server.url).scores([dialogue(1)])) == 1
    finally:
        server.shutdown()
        server.drain()
        thread.join()


def test_ctrl_c_answers_what_is_in_flight_and_ends_well(model: Path, scorer: PreferenceScorer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-long-token\n")
    command = [sys.executable, "-m", "solon.cli", "serve-pm", str(model), "--port", "0", "--wait", "1000", "--raw",
               "--allow-host", "gpu-7", "--token-file", str(tmp_path / "token")]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    try:
        assert process.stdout is not None
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/get_reward", process.stdout.readline())[1])  # type: ignore[index]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        body = json.dumps({"messages": [dialogue(3).messages()]})
        connection.request("POST", "/score", body, {"Host": "gpu-7", "Authorization": "Bearer a-long-token"})
        threading.Event().wait(0.4)  # it was taken, and waits for others
        process.send_signal(signal.SIGINT)
        (score,) = json.loads(connection.getresponse().read())["scores"]
        connection.close()
        assert score == pytest.approx(scorer.score(scorer.tokens([dialogue(3)]), Zero.RAW)[0], abs=1e-5)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0 and err == ""
    assert out.startswith("Stopped; 1 requests answered in 1 batches")
