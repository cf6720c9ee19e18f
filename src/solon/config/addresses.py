"""Addresses of servers, as recipes and options name them, and the token that a server may ask for.

An address goes into manifests, reports and messages, so it may hold no secret: user names, passwords, and queries,
which is where keys are put, are refused wherever an address is taken. A token comes from the environment
(`SOLON_PM_TOKEN`) or from a file, never from a command line, which every user of the machine can read; it stands in no
message, log or artefact.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from solon.errors import InputError

SCHEMES = ("http", "https")
TOKEN_VARIABLE = "SOLON_PM_TOKEN"
"""The environment variable that holds the token of a preference model's server, for the server and for who asks it."""
_TOKEN = re.compile(r"[\x21-\x7e]{8,4096}")
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


def read_token(file: Path | None = None) -> str | None:
    """The token in a file, or else in `SOLON_PM_TOKEN`; None when neither is given.

    Raises InputError for a file that cannot be read, and for a token that no header could carry.
    """
    if file is None:
        given, place = os.environ.get(TOKEN_VARIABLE, "").strip(), f"${TOKEN_VARIABLE}"
        if not given:
            return None
    else:
        place = str(file)
        try:
            given = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise InputError(f"the token cannot be read: {why}", place=place) from None
    if not _TOKEN.fullmatch(given):
        raise InputError(
            "a token is one word of 8 or more visible ASCII characters",
            place=place,
            remedy="Make one with: openssl rand -hex 32",
        )
    return given
