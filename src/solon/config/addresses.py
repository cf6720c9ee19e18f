"""Addresses of servers, as recipes and options name them, and what must not stand in one.

An address goes into manifests, reports and messages, so it may hold no secret: user names, passwords, and queries,
which is where keys are put, are refused wherever an address is taken. A server that wants a token gets it from the
environment (`SOLON_PM_TOKEN`).
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

SCHEMES = ("http", "https")
TOKEN_VARIABLE = "SOLON_PM_TOKEN"
"""The environment variable that holds the token of a preference model's server, for the server and for who asks it."""
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


def is_address(name: str) -> bool:
    """Whether a text names a server, and not a folder."""
    return name.partition("://")[0].lower() in SCHEMES and "://" in name


def address_fault(address: str) -> str | None:
    """Why a text is no address that can be asked and written down, told without a secret; None when it is one."""
    if not is_address(address) or not _PRINTABLE.fullmatch(address):
        return "this is no address"
    try:
        parts = urlsplit(address)
        named, _ = parts.hostname, parts.port  # a port that is none raises ValueError
    except ValueError:
        return "this is no address"
    if parts.username is not None or "?" in address or "#" in address:
        return (
            "the address holds a user name, a password or a query, and whatever it holds is written down. "
            f"Leave them out; a token is taken from the environment variable {TOKEN_VARIABLE}"
        )
    return None if named else "this is no address"
