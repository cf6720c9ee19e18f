"""The token that a preference model's server may ask for.

It comes from the environment or from a file, never from a command line, which every user of the machine can read. It is
compared in constant time, and stands in no message, log or artefact.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from solon.config.addresses import TOKEN_VARIABLE
from solon.errors import InputError

_TOKEN = re.compile(r"[\x21-\x7e]{8,4096}")


def token_given(file: Path | None = None) -> str | None:
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
