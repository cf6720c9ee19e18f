"""The journal of an unfinished stage: one line for each finished chunk, on the disk before anything uses it.

A line is JSON, `{"checksum": ..., "record": {...}}`; the checksum covers the record's bytes. A process that is killed
while it writes leaves a torn last line (cut short, or filled with NUL bytes by the file system): the line is cut off
and its chunk runs again. A damaged line that others follow cannot come from a crash; it is an error that names the
line. Memory has the position of each chunk and none of its rows, so a journal may be larger than memory. The journal is
removed when its stage is published.

`solon.config.json_lines` reads all other JSON lines; it knows no checksums and no torn lines.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from solon.errors import RunError, StageError
from solon.runs.files import reporting_write_errors, sync
from solon.runs.records import Record

WORKED = "worked"
"""The kind of a record that only counts seconds, for stages that keep their work in checkpoints."""

_HEAD, _MIDDLE, _TAIL = b'{"checksum":"', b'","record":', b"}\n"
_ROWS = b',"rows":['
"""Where a record's rows begin; inside a JSON string the quotation marks would be escaped."""
_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk: its phase, its number in the phase, the number of its items, and of all items of the phase."""

    phase: str
    number: int
    items: int
    total: int


@dataclass(frozen=True, slots=True)
class JournalLine:
    """A whole line of a journal: its position in the file, and its record without the rows."""

    start: int
    length: int
    record: Record

    @property
    def end(self) -> int:
        """The offset of the byte after it."""
        return self.start + self.length


@dataclass(slots=True)
class Journal:
    """An open journal; use `Journal.open`."""

    path: Path
    seconds: float = 0.0
    """The seconds of work in all records."""
    torn: bool = False
    """Whether a torn tail was cut off when the journal was opened."""
    _finished: dict[tuple[str, int], JournalLine] = field(default_factory=dict)
    _descriptor: int = -1

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Read the whole lines, cut off a torn tail, and open the file for appending.

        Raises RunError, naming `file:line`, when a line other than the last is damaged.
        """
        journal = cls(path)
        try:
            with reporting_write_errors(path):
                journal._open()
        except BaseException:
            journal.close()
            raise
        return journal

    def holds(self, chunk: Chunk) -> bool:
        """Whether a chunk is finished; raises RunError when it had another number of items."""
        line = self._finished.get((chunk.phase, chunk.number))
        if line is None:
            return False
        items, total = line.record["items"], line.record["total"]
        if (items, total) != (chunk.items, chunk.total):
            raise RunError(
                f"chunk {chunk.number} of phase '{chunk.phase}' has {items} of {total} items, "
                f"and now it would have {chunk.items} of {chunk.total}",
                place=str(self.path),
                remedy=f"Delete the folder {self.path.parent} to do the stage again",
            )
        return True

    def rows(self, chunk: Chunk) -> list[Record] | None:
        """The rows of a finished chunk, read from the disk; None when it is not finished.

        Raises RunError when its shape or its bytes have changed.
        """
        if not self.holds(chunk):
            return None
        line = self._finished[chunk.phase, chunk.number]
        body = _body(os.pread(self._descriptor, line.length, line.start))
        if body is None:
            raise RunError(
                f"chunk {chunk.number} of phase '{chunk.phase}' has changed on the disk",
                place=str(self.path),
                remedy="Check the disk, then run again: whole chunks are kept",
            )
        rows: list[Record] = json.loads(body).get("rows")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise RunError(
                f"chunk {chunk.number} of phase '{chunk.phase}' has no rows",
                place=str(self.path),
                remedy=f"Delete the folder {self.path.parent} to do the stage again",
            )
        return rows

    def append(self, chunk: Chunk, rows: Sequence[Record], seconds: float) -> list[Record]:
        """Make a chunk durable; returns its rows as a resumed run would read them.

        Raises StageError when a row is not valid JSON, and RunError when it cannot be written.
        """
        place = f"{self.path}, phase '{chunk.phase}', chunk {chunk.number}"
        record = {
            "phase": chunk.phase,
            "chunk": chunk.number,
            "items": chunk.items,
            "total": chunk.total,
            "seconds": seconds,
            "rows": list(rows),
        }
        body = _encoded(record, place)
        self._write(body)
        # The rows are decoded again, so that a tuple or an enum reads the same now and after a resume.
        decoded: list[Record] = json.loads(body)["rows"]
        return decoded

    def append_worked(self, seconds: float) -> None:
        """Record seconds of work outside of chunks."""
        self._write(_encoded({"kind": WORKED, "seconds": seconds}, str(self.path)))

    def close(self) -> None:
        """Close the file and keep it on the disk."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        length = 0
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        with open(os.dup(self._descriptor), "rb") as file:
            for number, line in enumerate(read_lines(file, str(self.path)), start=1):
                if not _is_record(line.record):
                    raise RunError(
                        "not a record of a journal, although the line is whole",
                        place=f"{self.path}:{number}",
                        remedy=f"Restore the file from a copy, or delete {self.path.parent} to do the stage again",
                    )
                self._add(line)
                length = line.end
        if length < os.fstat(self._descriptor).st_size:
            os.ftruncate(self._descriptor, length)
            os.fsync(self._descriptor)
            self.torn = True
        os.lseek(self._descriptor, length, os.SEEK_SET)
        sync(self.path.parent)

    def _add(self, line: JournalLine) -> None:
        self.seconds += line.record["seconds"]
        if line.record.get("kind") != WORKED:
            self._finished[line.record["phase"], line.record["chunk"]] = line

    def _write(self, body: bytes) -> None:
        start = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        whole = journal_line(body)
        rest = memoryview(whole)
        with reporting_write_errors(self.path, len(whole)):
            try:
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
                os.fsync(self._descriptor)
            except OSError:
                # The part that was written is cut off, so that the next session finds no torn line.
                os.ftruncate(self._descriptor, start)
                os.lseek(self._descriptor, start, os.SEEK_SET)
                raise
        self._add(JournalLine(start, len(whole), _without_rows(body)))


def journal_line(body: bytes) -> bytes:
    """The line that holds a record's JSON `body`."""
    return _HEAD + _checksum(body) + _MIDDLE + body + _TAIL


def read_lines(file: BinaryIO, place: str) -> Iterator[JournalLine]:
    """The whole lines of a journal, in order; anything after them is a torn tail.

    Raises RunError, naming `place:line`, when a damaged line is not the last one.
    """
    start = 0
    for number, line in enumerate(file, start=1):
        body = _body(line)
        if body is None:
            if _contains_whole_record(line) or _has_more(file):
                raise RunError(
                    "the journal is damaged: more lines follow this one, so it is not an interrupted write",
                    place=f"{place}:{number}",
                    remedy=f"Restore the file from a copy, or delete {Path(place).parent} to do the stage again",
                )
            return
        yield JournalLine(start, len(line), _without_rows(body))
        start += len(line)


def _body(line: bytes) -> bytes | None:
    """The JSON of the record in a whole line; None for any other line."""
    start = len(_HEAD) + _DIGITS
    body = line[start + len(_MIDDLE) : -len(_TAIL)]
    if not line.endswith(_TAIL) or line[: start + len(_MIDDLE)] != _HEAD + _checksum(body) + _MIDDLE:
        return None
    return body


def _without_rows(body: bytes) -> Record:
    """The decoded record without its rows, which would take time and memory."""
    head, found, _ = body.partition(_ROWS)
    try:
        record: Record = json.loads(head + b"}" if found else body)
    except (ValueError, RecursionError):
        return {}
    return record


def _is_record(record: object) -> bool:
    """Whether the record in a whole line has the fields of a journal's record."""
    if not isinstance(record, dict) or type(record.get("seconds")) not in (int, float):
        return False
    counts = [record.get(name) for name in ("chunk", "items", "total")]
    return record.get("kind") == WORKED or (
        isinstance(record.get("phase"), str) and all(type(count) is int for count in counts)
    )


def _has_more(file: BinaryIO) -> bool:
    """Whether the rest of a file has anything but padding."""
    return any(piece.strip(b"\0 \r\n") for piece in iter(lambda: file.read(1 << 20), b""))


def _contains_whole_record(line: bytes) -> bool:
    """Whether a damaged line ends with a whole record: then only the line break between two records is damaged."""
    start = line.find(_HEAD, 1)
    while start > 0:
        if _body(line[start:]) is not None:
            return True
        start = line.find(_HEAD, start + 1)
    return False


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGITS // 2).hexdigest().encode()


def _encoded(record: Mapping[str, object], place: str) -> bytes:
    try:
        # Pure ASCII, so that lone surrogates are kept too; NaN is written as Python reads it.
        return json.dumps(record, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError) as error:
        raise StageError(f"cannot write a row as JSON: {error}", place=place) from error
