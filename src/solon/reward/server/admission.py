"""Admission of requests by their head, before any byte of the body is read.

Every web page that the browser opens can reach a server on the same machine: by its address, or by a name that the
page's owner points at it. So a request must name this server as its host, and a page must come from one of the same
hosts. The loopback's names are always among them. All checks read only the head.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus

LOOPBACK = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = ("", "0.0.0.0", "::")
"""Addresses that mean "listen everywhere"; none of them is a host's name."""
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]{0,5})?")
_ORIGIN = re.compile(r"https?://(.+)")
_LENGTH = re.compile(r"[0-9]+")
_DIGITS = 18
"""More digits than any acceptable length; Python refuses to read thousands of them."""


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        self.status = status
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class Admission:
    """Accepts requests for these hosts, and with this token if there is one."""

    hosts: frozenset[str]
    token: str | None = field(default=None, repr=False)

    @classmethod
    def at(cls, listening: str, more: Iterable[str] = (), token: str | None = None) -> Admission:
        """For a server that listens at an address, with further host names."""
        own = () if listening in EVERYWHERE else (listening,)
        return cls(frozenset(name.lower().strip("[]").rstrip(".") for name in (*LOOPBACK, *own, *more)), token)

    def check(self, head: Message) -> None:
        """Raise Refused for a request for another host, from another host's page, or without the token."""
        hosts, origins = head.get_all("Host", []), head.get_all("Origin", [])
        if len(hosts) != 1:
            raise Refused(HTTPStatus.BAD_REQUEST, "the request must have one Host header")
        if self._name(hosts[0]) not in self.hosts:
            raise Refused(
                HTTPStatus.FORBIDDEN, "the request is for another host. Start the server with --allow-host NAME"
            )
        for origin in origins:
            page = _ORIGIN.fullmatch(origin.strip().lower())
            if page is None or self._name(page[1]) not in self.hosts:
                raise Refused(HTTPStatus.FORBIDDEN, "the request is from a page of another host")
        if self.token is not None and not self._has_token(head.get_all("Authorization", [])):
            raise Refused(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong. Send Authorization: Bearer TOKEN")

    def _name(self, host: str) -> str | None:
        found = _HOST.fullmatch(host.strip().lower())
        return found[1].strip("[]").rstrip(".") if found else None

    def _has_token(self, given: list[str]) -> bool:
        expected = f"Bearer {self.token}".encode()
        # Headers are read as Latin-1; the comparison takes constant time.
        return len(given) == 1 and hmac.compare_digest(given[0].strip().encode("latin-1", "replace"), expected)


def body_length(head: Message) -> int:
    """The length of the body; raises Refused unless the head has one plain Content-Length."""
    given = head.get_all("Content-Length", [])
    if "Transfer-Encoding" in head or len(given) != 1 or not _LENGTH.fullmatch(given[0].strip()):
        raise Refused(HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing. Send JSON with its length")
    digits = given[0].strip().lstrip("0")
    return int(digits or "0") if len(digits) <= _DIGITS else 10**_DIGITS
