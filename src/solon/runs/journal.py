"""The journal of a stage at work: one line per finished chunk, on the disk before anything uses it.

A line is JSON, `{"checksum": ..., "record": {...}}`, and its checksum covers the record's bytes, so it proves itself. A
process killed while it writes leaves a torn last line (cut short, or filled with NUL bytes by the file system); that
chunk is owed again and the tail is cut off. A damaged line with others after it cannot come from a crash and is an
error that names the line. The journal lives only until its stage is published.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solon.errors import RunError, StageError
from solon.runs.files import sync, telling_of

Row = dict[str, Any]
WORKED = "worked"
"""Kind of a record that only counts seconds, for stages whose work is kept in checkpoints."""

_HEAD, _MIDDLE, _TAIL = b'{"checksum":"', b'","record":', b"}\n"
_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Chunk:
    """The place of a chunk: its phase, its number there, how many items it holds, and how many the phase holds."""

    phase: str
    number: int
    items: int
    total: int


@dataclass(slots=True)
class Journal:
    """An open journal; use `Journal.open`."""

    path: Path
    seconds: float = 0.0
    """Worked according to all records."""
    torn: bool = False
    """Whether a torn tail was cut off when the journal was opened."""
    _finished: dict[tuple[str, int], Row] = field(default_factory=dict)
    _descriptor: int = -1

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Read what is durable, cut off a torn tail, and stay open for appending.

        Raises RunError, naming `file:line`, when a line other than the last is damaged.
        """
        journal = cls(path)
        content = path.read_bytes() if path.exists() else b""
        records, length = parse_journal(content, str(path))
        for record in records:
            journal._take(record)
        with telling_of(path):
            journal._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
            if length < len(content):
                os.ftruncate(journal._descriptor, length)
                os.fsync(journal._descriptor)
                journal.torn = True
            os.lseek(journal._descriptor, length, os.SEEK_SET)
            sync(path.parent)
        return journal

    def rows(self, chunk: Chunk) -> list[Row] | None:
        """The rows of a finished chunk, or None when it is owed; raises RunError when its shape has changed since."""
        record = self._finished.get((chunk.phase, chunk.number))
        if record is None:
            return None
        if (record["items"], record["total"]) != (chunk.items, chunk.total):
            raise RunError(
                f"chunk {chunk.number} of phase '{chunk.phase}' was made of {record['items']} of {record['total']} "
                f"items and would now be of {chunk.items} of {chunk.total}",
                place=str(self.path),
                remedy=f"Delete the folder {self.path.parent} to do the stage again",
            )
        rows: list[Row] = record["rows"]
        return rows

    def append(self, chunk: Chunk, rows: Sequence[Row], seconds: float) -> list[Row]:
        """Make a chunk durable; returns its rows as a resumed run would read them.

        Raises StageError when a row is not JSON-able, RunError when the disk refuses.
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
        # The decoded form is used, so that a tuple or an enum reads the same now and after a resume.
        self._take(json.loads(body))
        return self._finished[chunk.phase, chunk.number]["rows"]  # type: ignore[no-any-return]

    def append_worked(self, seconds: float) -> None:
        """Count seconds of work that no chunk holds."""
        record = {"kind": WORKED, "seconds": seconds}
        self._write(_encoded(record, str(self.path)))
        self._take(record)

    def close(self) -> None:
        """Close the file; the journal stays on the disk."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _take(self, record: Row) -> None:
        self.seconds += record["seconds"]
        if record.get("kind") != WORKED:
            self._finished[record["phase"], record["chunk"]] = record

    def _write(self, body: bytes) -> None:
        start = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        rest = memoryview(journal_line(body))
        with telling_of(self.path):
            try:
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
                os.fsync(self._descriptor)
            except OSError:
                # What got through is cut off again, so that the next session finds no torn line.
                os.ftruncate(self._descriptor, start)
                os.lseek(self._descriptor, start, os.SEEK_SET)
                raise


def journal_line(body: bytes) -> bytes:
    """The line that holds a record's JSON `body`."""
    return _HEAD + _checksum(body) + _MIDDLE + body + _TAIL


def parse_journal(content: bytes, place: str) -> tuple[list[Row], int]:
    """The records of a journal's bytes, and how many of the bytes they fill; what follows is a torn tail.

    Raises RunError, naming `place:line`, when a damaged line is not the last one.
    """
    records: list[Row] = []
    position = 0
    while position < len(content):
        end = content.find(b"\n", position) + 1 or len(content)
        record = _record(content[position:end])
        if record is None:
            if content[end:].strip(b"\0 \r\n") or _swallowed_another(content[position:end]):
                raise RunError(
                    "the journal is damaged here, and lines follow, so this is no interrupted write",
                    place=f"{place}:{len(records) + 1}",
                    remedy=f"Restore the file from a copy, or delete {Path(place).parent} to do the stage again",
                )
            break
        records.append(record)
        position = end
    return records, position


def _record(line: bytes) -> Row | None:
    start = len(_HEAD) + _DIGITS
    body = line[start + len(_MIDDLE) : -len(_TAIL)]
    if not line.endswith(_TAIL) or line[: start + len(_MIDDLE)] != _HEAD + _checksum(body) + _MIDDLE:
        return None
    record: Row = json.loads(body)
    return record


def _swallowed_another(line: bytes) -> bool:
    """Whether a whole record ends a damaged line: then it is the line break between two records that is damaged."""
    start = line.find(_HEAD, 1)
    while start > 0:
        if _record(line[start:]) is not None:
            return True
        start = line.find(_HEAD, start + 1)
    return False


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGITS // 2).hexdigest().encode()


def _encoded(record: Mapping[str, object], place: str) -> bytes:
    try:
        # Pure ASCII, so that damaged text (a lone surrogate) survives too; NaN is written as Python reads it.
        return json.dumps(record, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError) as error:
        raise StageError(f"a row cannot be written as JSON: {error}", place=place) from error
