"""Keys of servers: read from the environment, sent to the server, and shown nowhere."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from solon.errors import InputError

MASK = "***"
_LEAST = 12
"""Shorter keys are words that local servers are given, such as `none` and `EMPTY`, and stand in texts of models too."""
_SHOWN = 200
_KEY = re.compile(r"[\x21-\x7e]{1,4096}")


@dataclass(frozen=True, slots=True)
class Secret:
    """A key that is not part of its own representation; `value` is for the header alone."""

    value: str = field(repr=False)

    def __str__(self) -> str:
        return MASK

    def __reduce__(self) -> str:
        raise TypeError("a key is not stored")


def read_key(variable: str) -> Secret | None:
    """The key in an environment variable; None when it is not set.

    Raises InputError, without the key, for one that is not valid in a header.
    """
    given = os.environ.get(variable, "").strip()
    if not given:
        return None
    if not _KEY.fullmatch(given):
        raise InputError(
            "a key must be one word of visible ASCII characters",
            place=f"${variable}",
            remedy="Set it to the server's key, without quotation marks or line breaks",
        )
    return Secret(given)


def masked(text: str, key: Secret | None) -> str:
    """The text with *** in place of the key."""
    return text if key is None else text.replace(key.value, MASK)


def without_key(answer: bytes, key: Secret | None) -> bytes:
    """A server's answer with *** in place of the key; as it is for a key so short that it may be a word of a text."""
    return answer if key is None or len(key.value) < _LEAST else answer.replace(key.value.encode(), MASK.encode())


def shown(text: str | bytes, key: Secret | None = None) -> str:
    """The beginning of what a server said, on one line, without control characters and the key."""
    whole = text[:2000].decode("utf-8", "replace") if isinstance(text, bytes) else text[:2000]
    return "".join(each for each in " ".join(masked(whole, key).split()) if each.isprintable())[:_SHOWN]
