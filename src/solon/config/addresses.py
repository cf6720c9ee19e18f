"""Addresses of servers in recipes and options, and the token of a server.

An address is written into manifests, reports and messages, so it must not contain a secret: addresses with user names,
passwords or queries (which may have keys) are refused. A token comes from the environment (`SOLON_PM_TOKEN`) or from a
file, never from the command line, which every user of the machine can read. No message, log or artefact has the token.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from solon.errors import InputError

SCHEMES = ("http", "https")
TOKEN_VARIABLE = "SOLON_PM_TOKEN"
"""The environment variable with the token of a preference model's server, for the server and its clients."""
_TOKEN = re.compile(r"[\x21-\x7e]{8,4096}")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


def is_address(name: str) -> bool:
    """Whether a text is the address of a server, and not a folder."""
    return name.partition("://")[0].lower() in SCHEMES and "://" in name


def address_fault(address: str) -> str | None:
    """Why a text is not a valid address without secrets, in words that show no secret; None when it is one."""
    if not is_address(address) or not _PRINTABLE.fullmatch(address):
        return "not a valid address"
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port  # a malformed port raises ValueError
    except ValueError:
        return "not a valid address"
    if parts.username is not None or "?" in address or "#" in address:
        return (
            "the address has a user name, a password or a query, and addresses are written into reports. "
            f"Leave them out; a token comes from the environment variable {TOKEN_VARIABLE}"
        )
    return None if host else "not a valid address"


def read_token(file: Path | None = None) -> str | None:
    """The token in a file, or else in `SOLON_PM_TOKEN`; None when there is neither.

    Raises InputError for a file that cannot be read, and for a token that is not valid in a header.
    """
    if file is None:
        token, place = os.environ.get(TOKEN_VARIABLE, "").strip(), f"${TOKEN_VARIABLE}"
        if not token:
            return None
    else:
        place = str(file)
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise InputError(f"cannot read the token: {why}", place=place) from None
    if not _TOKEN.fullmatch(token):
        raise InputError(
            "a token must be one word of 8 or more visible ASCII characters",
            place=place,
            remedy="Make one with: openssl rand -hex 32",
        )
    return token
