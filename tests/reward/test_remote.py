"""Scores over HTTP: those of the folder that is served, asked again when that helps, and never made up."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from solon.config.recipe import EngineSettings
from solon.conversation import Conversation, conversation_of
from solon.errors import EngineError, RecipeError
from solon.http.json_client import Sleep
from solon.reward.conversation_scorer import CENTRE
from solon.reward.remote import RemoteScorer, is_address
from solon.reward.scorer import open_scorer
from solon.reward.server.batching import Limits
from solon.reward.server.server import PreferenceServer, Service
from solon.training import models
from tests.training.tiny import asked, save_tiny_model, texts_of

SETTINGS = EngineSettings(threads=1)
DIALOGUES = [conversation_of(asked(f"How do I bake {n} ?")).with_reply(f"First {n} .") for n in range(600)]


class ResponseCache(BaseHTTPRequestHandler):
    """Says what the test has prepared, one answer after the other, and then the last one again."""

    prepared: list[tuple[int, bytes]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = self.prepared.pop(0) if len(self.prepared) > 1 else self.prepared[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def stand_in() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), type("Prepared", (ResponseCache,), {"prepared": []}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def noting(slept: list[float]) -> Sleep:
    """Notes a pause, and takes none."""

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    return sleep


def scorer_at(server: HTTPServer, slept: list[float]) -> RemoteScorer:
    host, port = server.server_address[:2]
    return RemoteScorer(f"http://{host!s}:{port}", pauses=(0.5, 1.0), sleep=noting(slept))


def prepare(server: HTTPServer, *answers: tuple[int, object]) -> None:
    handler = server.RequestHandlerClass
    assert issubclass(handler, ResponseCache)
    handler.prepared = [
        (status, body if isinstance(body, bytes) else json.dumps(body).encode()) for status, body in answers
    ]


def test_a_served_folder_gives_its_own_scores_in_order(tmp_path: Path) -> None:
    tokenizer = models.load_tokenizer(save_tiny_model(tmp_path / "tiny"))
    grown = models.grow_preference_model(tmp_path / "tiny", tokenizer, SETTINGS, seed=1)
    setattr(grown.config, CENTRE, 0.75)
    models.save_model(grown, texts_of(tokenizer), tmp_path / "pm")
    served = open_scorer(tmp_path / "pm", SETTINGS)
    server = PreferenceServer(served, Service(port=0), SETTINGS, Limits(wait=0.01))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        found = RemoteScorer(f"http://127.0.0.1:{server.server_address[1]}/").scores(DIALOGUES)
    finally:
        server.shutdown()
        server.drain()
        thread.join()
    own = served.model.score(DIALOGUES) - served.model.centre
    assert found == pytest.approx(own.tolist(), abs=1e-5)


def test_a_busy_server_is_asked_again_with_growing_pauses(stand_in: HTTPServer) -> None:
    slept: list[float] = []
    prepare(stand_in, (503, {"error": "busy"}), (429, b""), (200, {"scores": [1.5, -2]}))
    assert scorer_at(stand_in, slept).scores(DIALOGUES[:2]) == [1.5, -2.0]
    assert slept == [0.5, 1.0]


@pytest.mark.parametrize(
    ("status", "body", "words", "tries"),
    [
        (503, {"error": "busy"}, "answered 503: .*busy", 3),
        (422, {"error": "too long"}, "answered 422: .*too long", 1),
        (422, b"\x1b[2Jtoo \x07long", r"answered 422: \[2Jtoo long", 1),
        (302, b"", "answered 302: it redirects, and redirects are not followed", 1),
        (204, b"", "answered 204", 1),
        (200, b"<html>", "is not JSON", 3),
        (200, {"scores": [1.0]}, "does not hold 2 finite scores", 3),
        (200, {"scores": [1.0, float("nan")]}, "does not hold 2 finite scores", 3),
        (200, b'{"scores": [1.0, 1e999]}', "does not hold 2 finite scores", 3),
        (200, {"scores": [1.0, 10**400]}, "does not hold 2 finite scores", 3),
        (200, {"scores": [1.0, None]}, "is not {", 3),
        (200, {"scores": [1.0, "5"]}, "is not {", 3),
        (200, {"scores": [1.0, True]}, "is not {", 3),
        (200, {"scores": {"1.0": 1, "2.0": 2}}, "is not {", 3),
        (200, {"scores": "12"}, "is not {", 3),
        (200, b'{"scores": [1.0, 2.0], "scores": [3.0, 4.0]}', "is not JSON", 3),
        (200, b"[" * 50_000, "is not JSON", 3),
        (200, b'{"scores": [1.0, ' + b"9" * 5000 + b"]}", "is not JSON", 3),
    ],
)
def test_no_score_is_made_up(stand_in: HTTPServer, status: int, body: object, words: str, tries: int) -> None:
    slept: list[float] = []
    prepare(stand_in, (status, body))
    scorer = scorer_at(stand_in, slept)
    with pytest.raises(EngineError, match=words) as caught:
        scorer.scores(DIALOGUES[:2])
    assert caught.value.place == scorer.address and "solon serve-pm" in caught.value.remedy
    assert len(slept) == tries - 1


def test_an_absent_server_is_named_with_its_address() -> None:
    slept: list[float] = []
    with pytest.raises(EngineError, match="does not answer"):
        RemoteScorer("http://127.0.0.1:9", pauses=(0.1,), sleep=noting(slept)).scores(DIALOGUES[:1])
    assert slept == [0.1]
    nothing: list[Conversation] = []
    assert RemoteScorer("http://127.0.0.1:9").scores(nothing) == []


def test_an_address_is_not_a_folder() -> None:
    assert is_address("http://host:1") and is_address("https://host/score")
    assert not any(map(is_address, ("runs/demo/07-preference-model/model", "testbed:pretrained", "ftp://host")))
    with pytest.raises(RecipeError, match="is not a valid address"):
        RemoteScorer("http://")
