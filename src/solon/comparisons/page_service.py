"""Serves the page with uvicorn until Ctrl-C.

Starlette and uvicorn are an extra. They are imported only inside functions, when the page is served.
"""

from __future__ import annotations

import importlib.util
import secrets
import socket
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from solon.comparisons.vote_page import PageParts, vote_page
from solon.errors import EngineError, InputError
from solon.reward.server.admission import EVERYWHERE, Admission

NEEDED = ("starlette", "uvicorn")
_GRACE = 3
"""Seconds for answers in flight when the server stops."""


@dataclass(frozen=True, slots=True)
class PageAddress:
    """Where the page is served, and by which other host names it may be asked for."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free one."""
    hosts: Sequence[str] = ()


def require_page_packages() -> None:
    """Raise InputError with the command that installs what the page needs, unless it is there."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise InputError(
            f"the page needs {' and '.join(missing)}",
            place="solon compare",
            remedy="Install with: pip install 'solon[compare]'; a --judge needs neither",
        )


class PageServer:
    """Listens from the start, and serves while `run` runs."""

    def __init__(self, parts: PageParts, address: PageAddress) -> None:
        """Raises EngineError when the address cannot be listened on."""
        import uvicorn

        token = secrets.token_urlsafe(18)
        self.parts = parts
        self._listening = _listening(address)
        port = self._listening.getsockname()[1]
        host = "localhost" if address.host in EVERYWHERE else address.host
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{port}/{token}/"
        """The whole address, with the token."""
        config = uvicorn.Config(
            vote_page(parts, Admission.at(address.host, address.hosts), token),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE,
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until Ctrl-C, or `stop` in another thread."""
        # uvicorn ends in order at the first signal, and then raises it again.
        with closing(self._listening), suppress(KeyboardInterrupt):
            self._server.run(sockets=[self._listening])
        self.parts.replies.close()

    def stop(self) -> None:
        """Have `run` answer what is in flight and return."""
        self._server.should_exit = True


def _listening(address: PageAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise EngineError(
            f"cannot listen: {error.strerror or error}",
            place=f"{address.host}:{address.port}",
            remedy="Use another --port (0 for any free one), or another --host",
        ) from error
