"""Limits on connections, so that slow clients cannot block the server: a number, and a deadline for each request.

A client that sends a byte now and then occupies a thread, and a few hundred of them would occupy all. So a request has
a fixed number of seconds from its first byte to its last. When all slots are taken, a new connection gets the slot of
the one that has waited longest without a complete request. Requests that are being answered keep their slots.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HEAD = 64 << 10
"""The most bytes of a request's head."""
SMALL = 256 << 10
"""Bodies of at most this many bytes are always read: slots are few, so their total is small."""


class TimedReader(io.RawIOBase):
    """Reads a connection until a fixed deadline; then raises TimeoutError."""

    def __init__(self, connection: socket.socket, idle: float, receive: float) -> None:
        self._connection = connection
        self._idle = idle
        self._receive = receive
        self.await_request()

    def await_request(self) -> None:
        """Wait `idle` seconds for a request to begin, and then `receive` seconds for its end."""
        self._begun = False
        self._until = time.monotonic() + self._idle
        self._left = HEAD + io.DEFAULT_BUFFER_SIZE

    def allow(self, size: int, seconds: float | None = None) -> None:
        """Allow so many further bytes, with a new deadline if `seconds` is given."""
        self._left += size
        if seconds is not None:
            self._begun, self._until = True, time.monotonic() + seconds

    def readable(self) -> bool:
        """See `io`."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """See `io`; raises TimeoutError at the deadline, ConnectionError for more bytes than allowed."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        count = self._connection.recv_into(buffer)
        if count and not self._begun:
            self._begun, self._until = True, time.monotonic() + self._receive
        self._left -= count
        if self._left < 0:
            raise ConnectionError("the head is too long")
        return count


class Connections:
    """The connections of a server, at most `most` of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._waiting: dict[socket.socket, None] = {}  # longest wait first
        self._at_work: set[socket.socket] = set()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._at_work)

    def admit(self, connection: socket.socket) -> bool:
        """Take a new connection, if necessary in place of the one that waits longest; False when all are busy."""
        with self._lock:
            if len(self) >= self._most:
                if not self._waiting:
                    return False
                longest = next(iter(self._waiting))
                del self._waiting[longest]
                with suppress(OSError):
                    longest.shutdown(socket.SHUT_RDWR)  # its thread reads the end and stops
            self._waiting[connection] = None
            return True

    def waits(self, connection: socket.socket) -> None:
        """A connection waits for its next request, or for its client to take the answer."""
        with self._lock:
            if connection in self._waiting or connection in self._at_work:
                self._at_work.discard(connection)
                self._waiting.pop(connection, None)
                self._waiting[connection] = None

    def works(self, connection: socket.socket) -> bool:
        """A complete request has arrived; False when the connection has lost its slot."""
        with self._lock:
            if connection not in self._waiting:
                return False
            del self._waiting[connection]
            self._at_work.add(connection)
            return True

    def gone(self, connection: socket.socket) -> None:
        """A connection is closed."""
        with self._lock:
            self._waiting.pop(connection, None)
            self._at_work.discard(connection)


class BodyMemory:
    """Memory for large bodies, shared by all requests."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held = 0
        self._lock = threading.Lock()

    @contextmanager
    def holding(self, size: int) -> Iterator[bool]:
        """Reserve so many bytes while a request is read and answered; False when they are not free."""
        if size <= SMALL:
            yield True
            return
        with self._lock:
            fits = not self._held or self._held + size <= self._size
            self._held += size if fits else 0
        try:
            yield fits
        finally:
            if fits:
                with self._lock:
                    self._held -= size
