"""A preference model over HTTP: what `solon serve-pm` runs.

    POST /get_reward   {"query": [text, ...], "prompts": [...], "labels": [...]}, as OpenRLHF's remote reward asks
                       -> {"rewards": [...], "scores": [...], "extra_logs": {}}
    POST /score        {"messages": [[{"role": ..., "content": ...}, ...], ...]} -> {"scores": [...]}
    GET  /health       the model's name, its centre, and how many requests were answered

It uses the standard library: a thread for each of a limited number of connections, and one thread that computes
(`batching`). A request is answered completely or refused with `{"error": "cause. remedy"}`; a text that is too long or
broken gets no score. Heads are checked before bodies are read (`admission`), the sizes of bodies before they are
tokenized (`bodies`), and slow clients lose their slots (`connections`). By default the server listens only on this
machine. It answers requests for hosts that it knows by name, and requires its token if it has one.
"""

from __future__ import annotations

import io
import json
import signal
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any

from solon.config.recipe import EngineSettings
from solon.conversation import Conversation
from solon.errors import EngineError, InputError, SolonError
from solon.reward.scorer import PreferenceScorer, Zero
from solon.reward.server.admission import Admission, Refused, body_length
from solon.reward.server.batching import Batcher, Busy, Limits
from solon.reward.server.bodies import Bounds, conversations_in, json_object, longest_text, texts_in, weight
from solon.reward.server.connections import BodyMemory, Connections, TimedReader
from solon.training.encoding import Tokens
from solon.training.models import arithmetic

REWARD, SCORE, HEALTH = "/get_reward", "/score", "/health"
_DRAIN, _LINGER = 1 << 20, 1.0
"""Bytes of a refused body that are still read, and seconds for it, so that the client receives the answer."""
_SENDING = 10.0
"""Seconds in which a client must read a part of its answer."""
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"

Numbered = tuple[int, str | Conversation]
"""A text or conversation to score, with its index in the request."""


@dataclass(frozen=True, slots=True)
class Service:
    """Where to listen, and the limits on requests."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 means any free port."""
    max_body: int = 16 << 20
    """Bytes."""
    max_texts: int = 4096
    """In one request."""
    zero: Zero = Zero.CENTRE
    idle: float = 60.0
    """Seconds after which a connection that sends nothing is closed."""
    hosts: tuple[str, ...] = ()
    """Further host names of the server, besides the loopback's and `host`."""
    token: str | None = field(default=None, repr=False)
    """The token that a request must send; None for none."""
    max_text: int | None = None
    """Characters of one text; None for as many as the model's window could hold."""
    max_characters: int = 4 << 20
    """In one request."""
    connections: int = 128
    """At the same time."""
    receive: float = 30.0
    """Seconds from a request's first byte to its last."""
    memory: int = 128 << 20
    """Bytes of large requests that are held at the same time."""


class PreferenceServer(ThreadingHTTPServer):
    """Serves until `shutdown`; then `drain` answers the accepted requests."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self, scorer: PreferenceScorer, service: Service, settings: EngineSettings, limits: Limits | None = None
    ) -> None:
        self.scorer = scorer
        self.service = service
        self.admission = Admission.at(service.host, service.hosts, service.token)
        text = service.max_text or longest_text(scorer.model.encoding.window)
        self.bounds = Bounds(service.max_texts, text, service.max_characters)
        self.connections = Connections(service.connections)
        self.body_memory = BodyMemory(service.memory)
        self.batcher: Batcher[Numbered, Tokens] = Batcher(
            self._prepare,
            lambda pieces: scorer.score(pieces, service.zero),
            limits,
            lambda: arithmetic(settings),
            lambda numbered: weight(numbered[1]),
        )
        self.address_family = socket.AF_INET6 if ":" in service.host else socket.AF_INET
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
        """The server's address."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def server_bind(self) -> None:
        """Bind without looking up the host's name, which takes long on a machine without a network."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.service.host, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a new connection a thread if there is a slot."""
        if self.connections.admit(request):
            super().process_request(request, client_address)
            return
        with suppress(OSError):
            request.setblocking(False)
            request.send(_FULL)
        self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection and free its slot."""
        self.connections.gone(request)
        super().shutdown_request(request)

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
        """Ignore broken connections."""

    def _prepare(self, share: Sequence[Numbered]) -> list[Tokens]:
        found = []
        for number, each in share:
            tokens = self.scorer.texts.tokens(each) if isinstance(each, str) else self.scorer.tokens([each])[0]
            if not self.scorer.fits(tokens):
                raise InputError(
                    f"{len(tokens)} tokens are more than the window of {self.scorer.model.encoding.window}",
                    place=f"text {number}",
                    remedy="Leave it out or shorten it; the server does not cut texts",
                )
            found.append(tokens)
        return found


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
    default_request_version = "HTTP/1.0"  # for requests without a version: HTTP/0.9 has no status
    server_version, sys_version = "solon", ""
    # Head and body are sent in one packet; else each answer would wait for an acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def setup(self) -> None:
        """See `StreamRequestHandler`."""
        super().setup()
        service = self.server.service
        self.reader = TimedReader(self.connection, service.idle, service.receive)
        self.rfile.close()
        self.rfile = io.BufferedReader(self.reader)
        self._unread = self._expects = False

    def handle_one_request(self) -> None:
        """See `BaseHTTPRequestHandler`: one request, with a deadline."""
        self.reader.await_request()
        self.server.connections.waits(self.connection)
        self._unread = self._expects = False
        super().handle_one_request()

    def handle_expect_100(self) -> bool:
        """Answer `Expect: 100-continue` only after the head is checked."""
        self._expects = True
        return True

    def do_GET(self) -> None:
        """Answer /health."""
        self._respond(self._health)

    def do_POST(self) -> None:
        """Answer a request for scores."""
        self._respond(self._scores)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: paths and headers are the client's text."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send errors of the standard library as JSON, too."""
        self._unread = True
        self._send(HTTPStatus(code), {"error": message or HTTPStatus(code).phrase})

    def _respond(self, answer: Callable[[], Mapping[str, object]]) -> None:
        self.server.count(1)
        # Until the whole body is read, the bytes after the head are not another request.
        has_body = any(name in self.headers for name in ("Content-Length", "Transfer-Encoding"))
        self._unread = has_body or self.command == "POST"
        try:
            self._send(HTTPStatus.OK, answer())
        except Refused as refusal:
            self._send(refusal.status, {"error": str(refusal)})
        except Busy as busy:
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, {"error": f"busy: {busy}. Ask again later"})
        except (SolonError, UnicodeError, TypeError) as error:  # a tokenizer raises the last two for a lone surrogate
            self._send(HTTPStatus.UNPROCESSABLE_ENTITY, {"error": str(error)})
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception as error:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"{type(error).__name__}: {error}"})
        finally:
            self.server.count(-1)

    def _health(self) -> Mapping[str, object]:
        self.server.admission.check(self.headers)
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
        server = self.server
        length, most = body_length(self.headers), server.service.max_body
        server.admission.check(self.headers)
        if self.path not in (REWARD, SCORE):
            raise Refused(HTTPStatus.NOT_FOUND, f"nothing here. POST to {REWARD} or {SCORE}")
        if length > most:
            why = f"a body of {length} bytes. At most {most} are taken"
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, why)
        with server.body_memory.holding(length) as fits:
            if not fits:
                raise Busy("many large requests are being answered")
            body = json_object(self._body(length))
            if not server.connections.works(self.connection):
                raise ConnectionAbortedError
            items: Sequence[str | Conversation]
            items = texts_in(body, server.bounds) if self.path == REWARD else conversations_in(body, server.bounds)
            del body
            scores = server.batcher.submit(list(enumerate(items))).result()
        if self.path == SCORE:
            return {"scores": scores}
        return {"rewards": scores, "scores": scores, "extra_logs": {}}

    def _body(self, length: int) -> bytes:
        if self._expects:
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
            self.wfile.flush()
        self.reader.allow(length)
        body = self.rfile.read(length)
        self._unread = False
        if len(body) < length:
            self.close_connection = True
            raise Refused(HTTPStatus.BAD_REQUEST, f"the body ends after {len(body)} of its {length} bytes")
        return body

    def _send(self, status: HTTPStatus, answer: Mapping[str, object]) -> None:
        content = json.dumps(answer).encode("ascii")
        self.close_connection = self.close_connection or self._unread
        self.server.connections.waits(self.connection)
        try:
            self.connection.settimeout(_SENDING)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if status is HTTPStatus.UNAUTHORIZED:
                self.send_header("WWW-Authenticate", "Bearer")
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()
            if self._unread:
                self._linger()
        except OSError:
            self.close_connection = True

    def _linger(self) -> None:
        """Read for a moment longer: a client that is still sending would get a reset instead of the answer."""
        self.connection.shutdown(socket.SHUT_WR)
        self.reader.allow(_DRAIN, _LINGER)
        while self.rfile.read1():
            pass
