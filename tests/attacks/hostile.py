"""Servers that answer as no server should: raw sockets that say what a test has them say, and count who asked."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

Say = Callable[[bytes], Iterable[bytes]]
"""What is sent in answer to a request, piece by piece; then the connection is closed."""


def whole(body: bytes, status: str = "200 OK", *headers: str) -> Say:
    """An answer as it should be."""
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers))
    return lambda request: [head.encode() + b"\r\n" + body]


def dripping(start: bytes) -> Say:
    """A beginning, and then a byte now and then without end."""

    def say(request: bytes) -> Iterator[bytes]:
        yield start
        while True:
            time.sleep(0.02)
            yield b"x"

    return say


def raw(content: bytes) -> Say:
    """Bytes as they are."""
    return lambda request: [content]


class Hostile:
    """A server that says one thing after the other, and then the last again; `asked` holds the requests to POST."""

    def __init__(self) -> None:
        self.says: list[Say] = []
        self.asked: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop listening; a socket that is closed while a thread waits at it would leave the thread waiting."""
        with suppress(OSError):  # some systems refuse it for a socket that only listens
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(1 << 16)
            head, _, body = request.partition(b"\r\n\r\n")
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            while lengths and len(body) < int(lengths[0].split(b":")[1]):
                body += connection.recv(1 << 16)
            if head.startswith(b"GET"):
                say = whole(b'{"centre": 0.0, "zero": "centre"}')
            else:
                self.asked.append(head)
                say = self.says[min(len(self.asked), len(self.says)) - 1]
            for piece in say(head):
                connection.sendall(piece)


@contextmanager
def listening() -> Iterator[Hostile]:
    """A hostile server while it is needed."""
    server = Hostile()
    try:
        yield server
    finally:
        server.close()
