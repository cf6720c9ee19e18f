"""The numbered lines of the user's files, and the strict JSON value in a line.

All JSONL files of prompts, pairs, labels, questions and chains are read here; `.gz` is decompressed.
`solon.config.strict_json` says what a line may contain. A bad line is an InputError that names `file:line`, so that the
caller may count it and continue. Files that Solon writes have their own readers, which check more: checksums and torn
lines in a stage's journal, digests in golden scores.
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
    """The value of a line; `may_hold_half` is set when its text may contain lone surrogates."""

    value: Any
    place: str
    may_hold_half: bool

    def object(self, what: str = "line", remedy: str = "") -> dict[str, Any]:
        """The value, which must be a JSON object; raises InputError."""
        if not isinstance(self.value, dict):
            raise InputError(f"a {what} must be one JSON object", place=self.place, remedy=remedy)
        return self.value

    def refuse_half_characters(self, remedy: str = "Write it as UTF-8") -> None:
        """Raise InputError for a lone surrogate in any text of the value."""
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
    """All lines of a file with their numbers from 1, without a byte order mark; `.gz` is decompressed.

    Raises InputError when the file is missing, unreadable or not a valid gzip file, and for a line that is too long.
    Only a line feed ends a line, because texts may contain U+2028 and similar characters.
    """
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
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
        raise InputError(
            f"not a whole gzip file: {error}", place=str(path), remedy="Download or compress it again"
        ) from None
    except IsADirectoryError:
        raise InputError(f"this is a folder, and a {what} is wanted", place=str(path), remedy="Name a file") from None
    except OSError as error:
        remedy = "Look at the file's permissions, or copy it to another place"
        raise InputError(f"cannot be read: {error.strerror or error}", place=str(path), remedy=remedy) from None
