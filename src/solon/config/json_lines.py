"""The lines of files that people bring, each with its number, and the strict JSON value in a line.

This is the one reader behind every JSONL file of prompts, pairs, labels, questions and chains; `.gz` is unpacked. What
a line may hold is decided by `solon.config.strict_json`. A line that cannot be read is an InputError that names
`file:line`, so that the caller may count it and go on. Files that Solon writes itself have readers of their own, which
check more: a stage's journal its checksums and torn lines, golden scores their digests.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.config.strict_json import LONGEST, Constants, decode, describe_half, half_character, may_hold_half, parse
from solon.errors import InputError


@dataclass(frozen=True, slots=True)
class JsonLine:
    """The value of a line; `may_hold_half` when its text has escapes that could be half characters."""

    value: Any
    place: str
    may_hold_half: bool

    def object(self, what: str = "line", remedy: str = "") -> dict[str, Any]:
        """The value, which must be a JSON object; raises InputError."""
        if not isinstance(self.value, dict):
            raise InputError(f"a {what} must be one JSON object", place=self.place, remedy=remedy)
        return self.value

    def refuse_half_characters(self, remedy: str = "Write it as UTF-8") -> None:
        """Raise InputError for half a character in any text of the value."""
        if self.may_hold_half and (half := half_character(self.value)) is not None:
            raise InputError(describe_half(half), place=self.place, remedy=remedy)


def json_line(raw: bytes | str, place: str, *, constants: Constants = Constants.REFUSED, remedy: str = "") -> JsonLine:
    """The JSON value in a line; raises InputError, naming `place`, for one that cannot be read."""
    text = decode(raw, place) if isinstance(raw, bytes) else raw
    return JsonLine(parse(text, place, constants=constants, remedy=remedy), place, may_hold_half(text))


def nonblank_lines(path: Path, what: str = "file") -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not blank, with their numbers from 1; raises InputError as `numbered_lines` does."""
    return ((number, line) for number, line in numbered_lines(path, what) if line.strip())


def numbered_lines(path: Path, what: str = "file") -> Iterator[tuple[int, bytes]]:
    """All lines of a file with their numbers from 1, without a byte order mark; `.gz` is unpacked.

    Raises InputError when the file is missing, unreadable or no valid gzip file, and for a line beyond all measure.
    Only a line feed ends a line, because texts may hold U+2028 and its kind.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            number = 0
            while line := file.readline(LONGEST + 1):
                number += 1
                if len(line) > LONGEST:
                    cause = f"the line has more than {LONGEST >> 20} MiB"
                    raise InputError(cause, place=f"{path}:{number}", remedy="Write one row per line")
                yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
    except FileNotFoundError:
        raise InputError(f"no such {what}", place=str(path), remedy="Check the name") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"no whole gzip file: {error}", place=str(path), remedy="Fetch or pack it again") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", place=str(path)) from None
