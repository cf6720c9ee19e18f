r"""Rows from wherever prompts and pairs are kept, one at a time and each with its place, so that a complaint names it.

Read are JSONL and a JSON array (as hh-rlhf's red-team attempts come), plain text, CSV, Parquet, and `hf:NAME` datasets
(see `datasets_library`); text files may be gzipped. The end of a file's name says which: `.parquet`, `.csv` or `.tsv`,
`.txt` or `.text`, and JSON for all else. A text file holds a prompt per line, unless it has a line of three dashes or
more: then such lines part its texts, which may be transcripts of several turns. A row that cannot be read is yielded
with the complaint about it, so that whoever asks may count it and go on; a file that cannot be read on raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
"""Bytes of a JSON array at most, because it is read as a whole."""
_BATCH = 1024
_DASHES = re.compile(rb"\s*-{3,}\s*")
_SPACES = re.compile(r"[\s,]*")


@dataclass(frozen=True, slots=True)
class Entry:
    """A row: its number from one (a line's, where rows are lines), its place, and what it holds or why it is bad."""

    number: int
    place: str
    value: str | Mapping[str, Any] | InputError
    """A text, or the columns that are read under our names."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """The row as the file has it, as far as it was read; empty for a text."""


def located(name: str | Path) -> Path | str:
    """Where a source lies: the file of a path or built-in name, checked to exist, or an `hf:` name as it is.

    Raises InputError when there is no such file.
    """
    return name if isinstance(name, str) and name.startswith(DATASET) else source_path(name)


def entries(source: Path | str, columns: Columns | None = None) -> Iterator[Entry]:
    """All rows of a `located` source that are not blank, in order; raises InputError when it cannot be read (on)."""
    columns = columns or Columns()
    if isinstance(source, str) and source.startswith(DATASET):
        from solon.sources.datasets_library import dataset_rows

        for number, row in enumerate(dataset_rows(source, columns), start=1):
            yield Entry(number, f"{source}, row {number}", columns.taken(row), row)
        return
    path = Path(source)
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        yield from _parquet(path, columns)
    elif name.endswith((".csv", ".tsv")):
        yield from _csv(path, columns)
    elif name.endswith((".txt", ".text")):
        yield from _texts(path, columns.what)
    else:
        yield from _json(path, columns)


def _json(path: Path, columns: Columns) -> Iterator[Entry]:
    lines = nonblank_lines(path, columns.what)
    first = next(lines, None)
    if first is None:
        return
    if first[1].lstrip().startswith(b"["):
        yield from _array(path, columns)
        return
    for number, raw in chain([first], lines):
        place = f"{path}:{number}"
        try:
            line = json_line(raw, place, constants=Constants.KEPT, remedy=FORMS)
            yield _entry(line, line.object(remedy=FORMS), number, columns)
        except InputError as error:
            yield Entry(number, place, error)


def _entry(line: JsonLine, record: dict[str, Any], number: int, columns: Columns) -> Entry:
    """The row in a JSON object; raises InputError when it cannot be used."""
    values = columns.taken(record)
    if line.may_hold_half:
        refuse_half_characters(values, line.place)
    # NaN where text is wanted is refused by whoever reads it; in other columns it does no harm.
    return Entry(number, line.place, values, record)


def _array(path: Path, columns: Columns) -> Iterator[Entry]:
    """The members of one JSON array, each under the line on which it starts."""
    text = decode(_whole(path, columns.what), str(path))
    position, counted, number = text.index("[") + 1, 0, 1
    while True:
        start = _end_of_spaces(text, position)
        number, counted = number + text.count("\n", counted, start), start
        place = f"{path}:{number}"
        if text[start : start + 1] == "]":
            if text[start + 1 :].strip(SPACE):
                raise InputError("something stands after the JSON array", place=place, remedy="Mend it, or drop it")
            return
        try:
            value, position = parse_at(
                text, start, lambda offset: _place_in(path, text, offset), constants=Constants.KEPT
            )
        except InputError as error:
            # Where the next member starts cannot be told, so that no count of bad lines can step over this.
            cause = error.cause.replace("broken JSON", "broken JSON array")
            remedy = error.remedy or "Mend it, or write one JSON object per line"
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
    parted = any(_DASHES.fullmatch(line) for _, line in lines)
    for number, raw in _parts(lines) if parted else ((n, line) for n, line in lines if line.strip()):
        place = f"{path}:{number}"
        try:
            text = decode(raw, place).strip()
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
        raise InputError(f"no whole Parquet file: {why}", place=str(path), remedy="Fetch or write it again") from None
