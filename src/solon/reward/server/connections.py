"""Connections that cannot hold a server up: only so many, each with a moment by which its request must be there.

A client that sends a byte now and then keeps a thread, and a few hundred of them would keep all. So a request has so
many seconds from its first byte to its last, whatever comes between, and when all places are taken the connection that
has waited longest without a whole request gives up its place to a new one. Requests that are being answered keep
theirs.
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
"""Bytes that a request's head may have."""
SMALL = 256 << 10
"""Bytes of a body that is always read: places are few, so all of these together are little."""


class TimedReader(io.RawIOBase):
    """The bytes of a connection, until a moment that does not move as bytes come; then TimeoutError."""

    def __init__(self, connection: socket.socket, idle: float, receive: float) -> None:
        self._connection = connection
        self._idle = idle
        self._receive = receive
        self.await_request()

    def await_request(self) -> None:
        """A request may begin within the seconds for idling, and has then those for receiving."""
        self._begun = False
        self._until = time.monotonic() + self._idle
        self._left = HEAD + io.DEFAULT_BUFFER_SIZE

    def allow(self, size: int, seconds: float | None = None) -> None:
        """Let so many bytes more come, and within so many seconds where that is given."""
        self._left += size
        if seconds is not None:
            self._begun, self._until = True, time.monotonic() + seconds

    def readable(self) -> bool:
        """See `io`."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """See `io`; raises TimeoutError when the moment has come, ConnectionError for more bytes than are allowed."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        count = self._connection.recv_into(buffer)
        if count and not self._begun:
            self._begun, self._until = True, time.monotonic() + self._receive
        self._left -= count
        if self._left < 0:
            raise ConnectionError("a head that is too long")
        return count


class Connections:
    """The connections of a server, at most `most` of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._waiting: dict[socket.socket, None] = {}  # the one that has waited longest comes first
        self._at_work: set[socket.socket] = set()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._at_work)

    def admit(self, connection: socket.socket) -> bool:
        """Take a new connection, in place of the one that has waited longest if need be; False when all are at work."""
        with self._lock:
            if len(self) >= self._most:
                if not self._waiting:
                    return False
                longest = next(iter(self._waiting))
                del self._waiting[longest]
                with suppress(OSError):
                    longest.shutdown(socket.SHUT_RDWR)  # its thread reads the end, and ends
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
        """A whole request is there; False when the connection has lost its place."""
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


class ConnectionSlots:
    """Bytes of large bodies that may be held at the same time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held = 0
        self._lock = threading.Lock()

    @contextmanager
    def holding(self, size: int) -> Iterator[bool]:
        """Room for so many bytes while a request is read and answered; False when there is none."""
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
