r"""Rows from wherever prompts are kept, one at a time and each with its place, so that a complaint can name it.

Read are JSONL and a JSON array (as hh-rlhf's red-team attempts come), plain text, Parquet, and `hf:NAME` datasets (see
`datasets_library`); text files may be gzipped. The end of a file's name says which: `.parquet`, `.txt` or
`.text`, and JSON for all else. A text file holds a prompt per line, unless it has a line of three dashes or more: then
such lines part its texts, which may be transcripts of several turns. A row that cannot be read is yielded with the
complaint about it, so that whoever asks may count it and go on; a file that cannot be read on raises.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from solon.builtin import source_path
from solon.errors import InputError

FORMS = (
    'Write {"prompt": [{"role": "user", "content": "..."}]}, {"prompt": "..."}, {"messages": [...]}, '
    '{"transcript": "..."} or {"chosen": "...", "rejected": "..."}'
)
COLUMNS = ("prompt", "messages", "transcript", "chosen", "rejected")
"""What is read of a row; a table's other columns stay unread."""
DATASET = "hf:"
"""Marks a dataset that the `datasets` library reads."""
_BATCH = 1024
_DASHES = re.compile(rb"\s*-{3,}\s*")
_SPACES = re.compile(r"[\s,]*")


@dataclass(frozen=True, slots=True)
class Entry:
    """A row: its number from one (a line's, where rows are lines), its place, and what it holds or why it is bad."""

    number: int
    place: str
    value: str | Mapping[str, Any] | InputError


def located(name: str | Path) -> Path | str:
    """Where a source lies: the file of a path or built-in name, checked to exist, or an `hf:` name as it is.

    Raises InputError when there is no such file.
    """
    return name if isinstance(name, str) and name.startswith(DATASET) else source_path(name)


def entries(source: Path | str, columns: Sequence[str] = COLUMNS) -> Iterator[Entry]:
    """All rows of a `located` source that are not blank, in order; raises InputError when it cannot be read (on).

    `columns` are read of a Parquet table, those of them that it has.
    """
    if isinstance(source, str) and source.startswith(DATASET):
        from solon.sources.datasets_library import dataset_rows

        for number, row in enumerate(dataset_rows(source), start=1):
            yield Entry(number, f"{source}, row {number}", row)
        return
    path = Path(source)
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        yield from _parquet(path, columns)
    elif name.endswith((".txt", ".text")):
        yield from _texts(path)
    else:
        yield from _json(path)


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not blank, with their numbers from 1; `.gz` is unpacked.

    Raises InputError when the file is missing, unreadable or no valid gzip file. Only a line feed ends a line, because
    texts may hold U+2028 and its kind.
    """
    return ((number, line) for number, line in _all_lines(path) if line.strip())


def without_nulls(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A table's row without the columns that say nothing."""
    return {name: value for name, value in row.items() if value is not None}


def no_column(found: list[str], place: str) -> InputError:
    """The complaint about a table none of whose columns is read."""
    return InputError(
        f"no column of prompts (found {', '.join(map(repr, found)) or 'nothing'})",
        place=place,
        remedy=f"Name a column {', '.join(map(repr, COLUMNS[:-1]))}",
    )


def _all_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
    except FileNotFoundError:
        raise InputError("no such prompt file", place=str(path), remedy="Check the name in the recipe") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"no whole gzip file: {error}", place=str(path), remedy="Fetch or pack it again") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", place=str(path)) from None


def _json(path: Path) -> Iterator[Entry]:
    lines = read_lines(path)
    first = next(lines, None)
    if first is None:
        return
    if first[1].lstrip().startswith(b"["):
        yield from _array(path)
        return
    for number, raw in chain([first], lines):
        place = f"{path}:{number}"
        try:
            yield Entry(number, place, _record(_decode(raw, place), place))
        except InputError as error:
            yield Entry(number, place, error)


def _array(path: Path) -> Iterator[Entry]:
    """The members of one JSON array, each under the line on which it starts."""
    text = _decode(b"".join(line for _, line in _all_lines(path)), str(path), strip=False)
    decoder = json.JSONDecoder()
    place_in_text, counted, number = text.index("[") + 1, 0, 1
    while True:
        start = _end_of_spaces(text, place_in_text)
        number, counted = number + text.count("\n", counted, start), start
        place = f"{path}:{number}"
        if text[start : start + 1] == "]":
            return
        try:
            value, place_in_text = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            # Where the next member starts cannot be told, so that no count of bad lines can step over this.
            why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            remedy = "Mend it, or write one JSON object per line"
            raise InputError(f"broken JSON array: {why}", place=place, remedy=remedy) from None
        bad = InputError("a member must be a JSON object", place=place, remedy=FORMS)
        yield Entry(number, place, value if isinstance(value, dict) else bad)


def _end_of_spaces(text: str, start: int) -> int:
    found = _SPACES.match(text, start)
    return found.end() if found else start


def _texts(path: Path) -> Iterator[Entry]:
    lines = list(_all_lines(path))
    parted = any(_DASHES.fullmatch(line) for _, line in lines)
    for number, raw in _parts(lines) if parted else ((n, line) for n, line in lines if line.strip()):
        place = f"{path}:{number}"
        try:
            text = _decode(raw, place)
            if text.startswith("Assistant:"):
                remedy = "Part transcripts of several turns by lines of three dashes"
                raise InputError("an assistant's turn stands by itself", place=place, remedy=remedy)
            yield Entry(number, place, text)
        except InputError as error:
            yield Entry(number, place, error)


def _parts(lines: list[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """The texts between lines of dashes, each with the number of its first line that is not blank."""
    part: list[tuple[int, bytes]] = []
    for number, line in [*lines, (0, b"---")]:
        if not _DASHES.fullmatch(line):
            if part or line.strip():
                part.append((number, line))
        elif part:
            yield part[0][0], b"".join(line for _, line in part).replace(b"\r\n", b"\n")
            part = []


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[Entry]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        raise InputError("no such prompt file", place=str(path), remedy="Check the name in the recipe")
    try:
        with pq.ParquetFile(path.absolute()) as file:
            found = list(file.schema_arrow.names)
            known = [name for name in columns if name in found]
            if not known:
                raise no_column(found, str(path))
            number = 0
            for batch in file.iter_batches(_BATCH, columns=known):
                for row in batch.to_pylist():
                    number += 1
                    yield Entry(number, f"{path}, row {number}", without_nulls(row))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"no whole Parquet file: {why}", place=str(path), remedy="Fetch or write it again") from None


def _decode(raw: bytes, place: str, *, strip: bool = True) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text: {error.reason} at byte {error.start + 1}", place=place) from None
    return text.strip() if strip else text


def _record(text: str, place: str) -> Mapping[str, Any]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise InputError(f"broken JSON: {why}", place=place, remedy=FORMS) from None
    if not isinstance(record, dict):
        raise InputError("a line must be one JSON object", place=place, remedy=FORMS)
    return record
