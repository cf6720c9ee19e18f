"""The door of the page, before any of it runs: host, origin, token and size of a request; headers of every answer.

Every web page in the browser can send requests to a server on the same machine. So a request must name this server as
its host, a page that sends one must be of that very host and port, and each path begins with the token that the command
prints: `/TOKEN/...`. Nobody can guess it, and a page of another host cannot read it. The content security policy allows
the page's own style sheet and script and nothing else: no inline script, no other host, no frame.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, MutableMapping
from email.message import Message
from http import HTTPStatus
from typing import Any, TypeAlias

from solon.reward.server.admission import Admission, Refused

Scope: TypeAlias = MutableMapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    # `no-referrer` would make browsers send `Origin: null` with the page's own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LARGEST_BODY = 256 << 10
"""Bytes of a form: a turn of `LONGEST_TURN` characters, encoded, with room to spare."""
_FIRST = re.compile(r"/([^/]*)(/.*)?", re.DOTALL)
_SAFE = ("GET", "HEAD")


class PageGuard:
    """An ASGI application around another one, which admits its requests."""

    def __init__(self, app: App, admission: Admission, token: str) -> None:
        self.app, self.admission, self.token = app, admission, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI; anything but HTTP and the life of the server is dropped."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            try:
                self._check(scope)
            except Refused as refusal:
                await _refuse(refusal, _with_headers(send))
                return
            await self.app({**scope, "root_path": f"/{self.token}"}, receive, _with_headers(send))

    def _check(self, scope: Scope) -> None:
        head = _head(scope)
        self.admission.check(head)
        host = str(head["Host"]).strip().lower()
        for origin in head.get_all("Origin", []):
            if origin.strip().lower().partition("://")[2] != host:
                raise Refused(HTTPStatus.FORBIDDEN, "the request is from another page")
        site = head.get("Sec-Fetch-Site", "same-origin")
        if scope["method"] not in _SAFE and site not in ("same-origin", "none"):
            raise Refused(HTTPStatus.FORBIDDEN, "the request is from another page")
        first = _FIRST.fullmatch(scope["path"])
        given = first[1] if first else ""
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode()):
            raise Refused(HTTPStatus.NOT_FOUND, "nothing here. Open the address that solon compare printed")
        length = head.get("Content-Length", "0").strip()
        if not length.isascii() or not length.isdecimal() or len(length) > 9 or int(length) > LARGEST_BODY:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {LARGEST_BODY} bytes are taken")


def _head(scope: Scope) -> Message:
    head = Message()
    for name, value in scope["headers"]:
        head[name.decode("latin-1")] = value.decode("latin-1")
    return head


def _with_headers(send: Send) -> Send:
    added = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in HEADERS.items()]

    async def sending(event: Event) -> None:
        if event["type"] == "http.response.start":
            own = [(name, value) for name, value in event["headers"] if name not in {name for name, _ in added}]
            event = {**event, "headers": [*own, *added]}
        await send(event)

    return sending


async def _refuse(refusal: Refused, send: Send) -> None:
    body = f"{refusal}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": int(refusal.status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
