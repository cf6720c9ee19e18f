"""Connections to servers, one for each request in flight.

Each has a small pool of its own: a common pool of httpx looks at all its connections for every request, and half of a
processor's time would go there. Proxies and certificates of the environment are used for https only, because a proxy
would see the key otherwise.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

_CONNECT = 10.0
"""Seconds to connect."""


class KeptConnections:
    """Hands out connections to one kind of address; used from one event loop."""

    def __init__(self, idle: float) -> None:
        """`idle`: seconds after which an unused connection is closed; 0 uses none again."""
        self._idle = idle
        self._free: dict[bool, list[httpx.AsyncClient]] = {True: [], False: []}
        self._all: list[httpx.AsyncClient] = []
        self._trusted: ssl.SSLContext | None = None

    @contextmanager
    def one(self, address: str) -> Iterator[httpx.AsyncClient]:
        """A connection for one request."""
        encrypted = address.lower().startswith("https:")
        free = self._free[encrypted]
        connection = free.pop() if free else self._new(encrypted)
        try:
            yield connection
        finally:
            free.append(connection)

    async def close(self) -> None:
        """Close all of them."""
        for each in self._all:
            await each.aclose()

    def _new(self, encrypted: bool) -> httpx.AsyncClient:
        import httpx

        if encrypted and self._trusted is None:
            self._trusted = httpx.create_ssl_context()
        made = httpx.AsyncClient(
            verify=self._trusted if encrypted and self._trusted else False,
            trust_env=encrypted,
            timeout=httpx.Timeout(None, connect=_CONNECT),
            limits=httpx.Limits(max_keepalive_connections=1 if self._idle else 0, keepalive_expiry=self._idle),
        )
        self._all.append(made)
        return made
