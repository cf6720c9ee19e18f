r"""Reads the rows of prompts and pairs from any source, one at a time, each with its place for messages.

The formats are JSONL, a JSON array (such as hh-rlhf's red-team attempts), plain text, CSV, Parquet, and `hf:NAME`
datasets (see `datasets_library`); text files may be gzipped. The suffix of a file gives its format: `.parquet`, `.csv`
or `.tsv`, `.txt` or `.text`, and JSON for all others. A text file has one prompt per line, unless it has a line of
three dashes or more: then such lines separate its texts, which may be transcripts of several turns. A bad row is
yielded with its error, so that the caller may count it and continue; an unreadable file raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain
from pathlib import Path
from typing import Any

from solon.config.builtin import source_path
from solon.config.json_lines import JsonLine, json_line, nonblank_lines, numbered_lines
from solon.config.strict_json import SPACE, Constants, decode, may_hold_half, parse_at
from solon.errors import InputError
from solon.sources.columns import Columns, refuse_half_characters
from solon.sources.csv_rows import csv_rows

FORMS = (
    'Write {"prompt": [{"role": "user", "content": "..."}]}, {"prompt": "..."}, {"messages": [...]}, '
    '{"transcript": "..."} or {"chosen": "...", "rejected": "..."}'
)
DATASET = "hf:"
"""Marks a dataset that the `datasets` library reads."""
LARGEST_ARRAY = 1 << 30
"""The most bytes of a JSON array, which is read as a whole."""
_PACKED = (".zst", ".zip", ".xz", ".bz2", ".tar", ".tgz", ".tar.gz", ".7z")
"""Suffixes of compressed files that are not read."""
_BATCH = 1024
_DASHES = re.compile(rb"\s*-{3,}\s*")
_SPACES = re.compile(r"[\s,]*")


class FileForm(Enum):
    """How the rows of a file are written."""

    PARQUET = "parquet"
    TABLE = "table"
    """CSV, or the same with tabs."""
    TEXT = "text"
    JSON = "json"
    """JSONL, or a JSON array."""


_SUFFIXES: Mapping[FileForm, tuple[str, ...]] = {
    FileForm.PARQUET: (".parquet",),
    FileForm.TABLE: (".csv", ".tsv"),
    FileForm.TEXT: (".txt", ".text"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A row: its number from 1 (the line, where rows are lines), its place, and its value or error."""

    number: int
    place: str
    value: str | Mapping[str, Any] | InputError
    """A text, the columns under Solon's names, or the error of a bad row."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """The row with the file's own names; empty for a text."""


def located(name: str | Path) -> Path | str:
    """The file of a path or built-in name, which must exist, or an `hf:` name unchanged.

    Raises InputError when there is no such file.
    """
    return name if isinstance(name, str) and name.startswith(DATASET) else source_path(name)


def entries(source: Path | str, columns: Columns | None = None) -> Iterator[Entry]:
    """All rows of a `located` source that are not blank, in order; raises InputError when it is unreadable."""
    columns = columns or Columns()
    if isinstance(source, str) and source.startswith(DATASET):
        from solon.sources.datasets_library import dataset_rows

        for number, row in enumerate(dataset_rows(source, columns), start=1):
            yield Entry(number, f"{source}, row {number}", columns.taken(row), row)
        return
    path = Path(source)
    match file_form(path):
        case FileForm.PARQUET:
            yield from _parquet(path, columns)
        case FileForm.TABLE:
            yield from _csv(path, columns)
        case FileForm.TEXT:
            yield from _texts(path, columns.what)
        case FileForm.JSON:
            yield from _json(path, columns)


def file_form(path: Path) -> FileForm:
    """The format that a file's suffix gives, in capitals too; raises InputError for a compressed file but `.gz`."""
    name = path.name.lower()
    if packed := next((each for each in _PACKED if name.endswith(each)), None):
        raise InputError(f"{packed} files are not read", place=str(path), remedy="Unpack it, or compress it with gzip")
    suffix = Path(name.removesuffix(".gz")).suffix
    return next((form for form, suffixes in _SUFFIXES.items() if suffix in suffixes), FileForm.JSON)


def _json(path: Path, columns: Columns) -> Iterator[Entry]:
    lines = nonblank_lines(path, columns.what)
    first = next(lines, None)
    if first is None:
        return
    if first[1].lstrip().startswith(b"["):
        yield from _array(path, columns)
        return
    if first[1].strip() == b"{":
        remedy = "Write one JSON object per line, or a JSON array of objects"
        raise InputError("the file is one JSON document over several lines", place=f"{path}:{first[0]}", remedy=remedy)
    for number, raw in chain([first], lines):
        place = f"{path}:{number}"
        try:
            line = json_line(raw, place, constants=Constants.KEPT, remedy=FORMS)
            yield _entry(line, line.object(remedy=FORMS), number, columns)
        except InputError as error:
            yield Entry(number, place, error)


def _entry(line: JsonLine, record: dict[str, Any], number: int, columns: Columns) -> Entry:
    """The row in a JSON object; raises InputError for lone surrogates."""
    values = columns.taken(record)
    if line.may_hold_half:
        refuse_half_characters(values, line.place)
    # The reader of a column refuses NaN where it needs text; in other columns NaN does no harm.
    return Entry(number, line.place, values, record)


def _array(path: Path, columns: Columns) -> Iterator[Entry]:
    """The members of a JSON array, each with the line on which it starts."""
    text = decode(_whole(path, columns.what), str(path))
    position, counted, number = text.index("[") + 1, 0, 1
    while True:
        start = _end_of_spaces(text, position)
        number, counted = number + text.count("\n", counted, start), start
        place = f"{path}:{number}"
        if text[start : start + 1] == "]":
            if text[start + 1 :].strip(SPACE):
                raise InputError("more text follows the JSON array", place=place, remedy="Remove that text")
            return
        try:
            value, position = parse_at(
                text, start, lambda offset: _place_in(path, text, offset), constants=Constants.KEPT
            )
        except InputError as error:
            # The start of the next member is unknown, so this cannot be skipped as a bad line.
            cause = error.cause.replace("broken JSON", "broken JSON array")
            remedy = error.remedy or "Correct it, or write one JSON object per line"
            where = error.place if cause == error.cause else place
            raise InputError(cause, place=where, remedy=remedy) from None
        try:
            member = JsonLine(value, place, may_hold_half(text[start:position]))
            yield _entry(member, member.object("member", FORMS), number, columns)
        except InputError as error:
            yield Entry(number, place, error)


def _place_in(path: Path, text: str, offset: int) -> str:
    return f"{path}:{1 + text.count(chr(10), 0, offset)}"


def _whole(path: Path, what: str) -> bytes:
    parts, size = [], 0
    for _, line in numbered_lines(path, what):
        parts.append(line)
        size += len(line)
        if size > LARGEST_ARRAY:
            cause = f"the JSON array has more than {LARGEST_ARRAY >> 30} GiB"
            raise InputError(cause, place=str(path), remedy="Write one JSON object per line")
    return b"".join(parts)


def _end_of_spaces(text: str, start: int) -> int:
    found = _SPACES.match(text, start)
    return found.end() if found else start


def _texts(path: Path, what: str) -> Iterator[Entry]:
    lines = list(numbered_lines(path, what))
    separated = any(_DASHES.fullmatch(line) for _, line in lines)
    for number, raw in _parts(lines) if separated else ((n, line) for n, line in lines if line.strip()):
        place = f"{path}:{number}"
        try:
            text = decode(raw, place).strip()
            if text.startswith("Assistant:"):
                remedy = "Separate transcripts of several turns by lines of three dashes"
                raise InputError("a turn of the assistant without a human turn before it", place=place, remedy=remedy)
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


def _csv(path: Path, columns: Columns) -> Iterator[Entry]:
    found = csv_rows(numbered_lines(path, columns.what), str(path))
    if found is None:
        return
    names, rows = found
    columns.of_table(names, str(path))
    for number, row in rows:
        place = f"{path}:{number}"
        if isinstance(row, InputError):
            yield Entry(number, place, row)
        else:
            yield Entry(number, place, columns.taken(row), row)


def _parquet(path: Path, columns: Columns) -> Iterator[Entry]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        raise InputError(f"no such {columns.what}", place=str(path), remedy="Check the name")
    try:
        with pq.ParquetFile(path.absolute()) as file:
            known = columns.of_table(list(file.schema_arrow.names), str(path))
            number = 0
            for batch in file.iter_batches(_BATCH, columns=known):
                for row in batch.to_pylist():
                    number += 1
                    yield Entry(number, f"{path}, row {number}", columns.taken(row), row)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"not a whole Parquet file: {why}", place=str(path), remedy="Download or write it again"
        ) from None
