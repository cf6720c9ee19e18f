"""A preference model over HTTP: what `solon serve-pm` runs.

    POST /get_reward   {"query": [text, ...], "prompts": [...], "labels": [...]}, as OpenRLHF's remote reward asks
                       -> {"rewards": [...], "scores": [...], "extra_logs": {}}
    POST /score        {"messages": [[{"role": ..., "content": ...}, ...], ...]} -> {"scores": [...]}
    GET  /health       what is served, and how much was answered

It stands on the standard library: a thread for each connection, which only waits, and one thread that computes
(`batching`). A request is answered whole or refused with `{"error": "cause. remedy"}`; no score is ever made up for a
text that is too long or broken. There is no authentication, so it listens on this machine alone unless told otherwise.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any

from solon.conversation import Conversation, Role, conversation_of
from solon.errors import EngineError, InputError, SolonError
from solon.preferences.scorer import Scorer, Zero
from solon.recipe import EngineSettings
from solon.serving.batching import Batcher, Busy, Limits
from solon.training.encoding import Tokens
from solon.training.models import arithmetic

REWARD, SCORE, HEALTH = "/get_reward", "/score", "/health"
_DRAIN = 1 << 20
"""Bytes of a refused body that are still read, so that the asker gets to see the answer."""

Job = Sequence[str | Conversation]


@dataclass(frozen=True, slots=True)
class Service:
    """Where to listen, and what to take."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 for any free one."""
    max_body: int = 16 << 20
    """Bytes."""
    max_texts: int = 4096
    """In one request."""
    zero: Zero = Zero.CENTRE
    idle: float = 60.0
    """Seconds after which a connection that sends nothing is closed."""


class Refused(Exception):
    """A request that gets an error for an answer."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        self.status = status
        super().__init__(why)


class PreferenceServer(ThreadingHTTPServer):
    """Serves until `shutdown`; `drain` then answers what was taken."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self, scorer: Scorer, service: Service, settings: EngineSettings, limits: Limits | None = None
    ) -> None:
        self.scorer = scorer
        self.service = service
        self.batcher: Batcher[Job, Tokens] = Batcher(
            self._prepare, lambda pieces: scorer.score(pieces, service.zero), limits, lambda: arithmetic(settings)
        )
        self._at_work = 0
        self._changed = threading.Condition()
        try:
            super().__init__((service.host, service.port), Handler)
        except OSError as error:
            self.batcher.close()
            raise EngineError(
                f"cannot listen: {error.strerror or error}",
                place=f"{service.host}:{service.port}",
                remedy="Use another --port (0 for any free one), or another --host",
            ) from error

    @property
    def url(self) -> str:
        """Where to ask."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def drain(self, patience: float = 30.0) -> None:
        """Answer the requests in flight, waiting for them at most `patience` seconds, and close."""
        self.batcher.close()
        with self._changed:
            self._changed.wait_for(lambda: not self._at_work, patience)
        self.server_close()

    def count(self, change: int) -> None:
        """A request begins (1) or is answered (-1)."""
        with self._changed:
            self._at_work += change
            self._changed.notify_all()

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that broke off is the asker's affair."""

    def _prepare(self, job: Job) -> list[Tokens]:
        tokens = [
            self.scorer.texts.tokens(each) if isinstance(each, str) else self.scorer.tokens([each])[0] for each in job
        ]
        for number, each in enumerate(tokens):
            if not self.scorer.fits(each):
                raise InputError(
                    f"{len(each)} tokens are more than the window of {self.scorer.model.encoding.window}",
                    place=f"text {number}",
                    remedy="Leave it out or shorten it; it is not cut here",
                )
        return tokens


def serve_until_stopped(server: PreferenceServer) -> None:
    """Serve until SIGINT or SIGTERM, then answer what is in flight; a second signal stops at once.

    For the main thread of a process; raises KeyboardInterrupt at the second signal.
    """
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        stop.wait()
        server.shutdown()
        server.drain()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: PreferenceServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "solon", ""
    # Head and body leave in one packet; else each answer would wait for an acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def setup(self) -> None:
        """See `StreamRequestHandler`."""
        super().setup()
        self.connection.settimeout(self.server.service.idle)

    def do_GET(self) -> None:
        """Health."""
        self._respond(self._health)

    def do_POST(self) -> None:
        """Scores."""
        self._respond(self._scores)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: paths and headers are the asker's text."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses, told as JSON as well."""
        self.close_connection = True
        self._send(HTTPStatus(code), {"error": message or HTTPStatus(code).phrase})

    def _respond(self, answer: Any) -> None:
        self.server.count(1)
        try:
            self._send(HTTPStatus.OK, answer())
        except Refused as refusal:
            self._send(refusal.status, {"error": str(refusal)})
        except Busy as busy:
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, {"error": f"busy: {busy}. Ask again later"})
        except (SolonError, UnicodeError, TypeError) as error:  # a tokenizer raises the last two for half a character
            self._send(HTTPStatus.UNPROCESSABLE_ENTITY, {"error": str(error)})
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception as error:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"{type(error).__name__}: {error}"})
        finally:
            self.server.count(-1)

    def _health(self) -> Mapping[str, object]:
        if self.path != HEALTH:
            raise Refused(HTTPStatus.NOT_FOUND, f"nothing here. Ask {HEALTH}, or POST to {REWARD} or {SCORE}")
        server = self.server
        return {
            "status": "ok",
            "model": server.scorer.name,
            "zero": server.service.zero.value,
            "centre": server.scorer.model.centre,
            "window": server.scorer.model.encoding.window,
            "answered": server.batcher.answered,
            "batches": server.batcher.batches,
        }

    def _scores(self) -> Mapping[str, object]:
        body = self._body()
        if self.path not in (REWARD, SCORE):
            raise Refused(HTTPStatus.NOT_FOUND, f"nothing here. POST to {REWARD} or {SCORE}")
        job = texts_in(body) if self.path == REWARD else conversations_in(body)
        if len(job) > self.server.service.max_texts:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"{len(job)} texts in one request. At most {self.server.service.max_texts} are taken",
            )
        scores = self.server.batcher.submit(job).result()
        if self.path == SCORE:
            return {"scores": scores}
        return {"rewards": scores, "scores": scores, "extra_logs": {}}

    def _body(self) -> dict[str, Any]:
        given = self.headers.get("Content-Length", "")
        if not given.isdecimal():
            self.close_connection = True  # where the body ends is unknown
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "the request names no Content-Length. Send JSON with its length")
        length, most = int(given), self.server.service.max_body
        if length > most:
            self.close_connection = True
            self.rfile.read(min(length, _DRAIN))
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body of {length} bytes. At most {most} are taken")
        try:
            body = json.loads(self.rfile.read(length).decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise Refused(HTTPStatus.BAD_REQUEST, f"broken JSON: {error}") from None
        if not isinstance(body, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, "the body must be one JSON object")
        return body

    def _send(self, status: HTTPStatus, answer: Mapping[str, object]) -> None:
        content = json.dumps(answer).encode("ascii")
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()
        except OSError:
            self.close_connection = True


def texts_in(body: Mapping[str, Any]) -> list[str]:
    """The texts that OpenRLHF asks about; `prompts` and `labels` are parts of them or unused. Raises Refused."""
    texts = body.get("query")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(HTTPStatus.BAD_REQUEST, "'query' must be a list of texts, each a prompt with its reply")
    return texts


def conversations_in(body: Mapping[str, Any]) -> list[Conversation]:
    """Conversations as lists of messages, each ending on a reply; raises Refused or InputError."""
    given = body.get("messages")
    if not isinstance(given, list) or not all(_is_messages(each) for each in given):
        raise Refused(HTTPStatus.BAD_REQUEST, "'messages' must be a list of conversations, each a list of messages")
    found = [conversation_of(each, place=f"conversation {number}") for number, each in enumerate(given)]
    for number, each in enumerate(found):
        if len(each.turns) < 2 or each.turns[-1].role is not Role.ASSISTANT:
            raise Refused(HTTPStatus.BAD_REQUEST, f"conversation {number} does not end on a reply to something")
    return found


def _is_messages(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(message, dict) for message in value)
