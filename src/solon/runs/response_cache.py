"""A cache of the models' answers in a run, by a key over everything that can change an answer (promise P2).

A journal stores the chunks of one stage and is removed when the stage is published. The answers stay: a run with an
edited constitution looks up its questions here and in the runs that it reuses, and only new questions reach a model.
They are in an SQLite file, `answers.sqlite`: a lookup by key does not need all texts in memory, and a killed process
leaves either a whole batch or none of it. Each row has a checksum, and a value must have the shape that its reader
expects, because SQLite returns a damaged byte as it is and it would become a training row. No artefact depends on the
file. Without it, or without a row of it, a run asks the models again. Several threads may use it.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from solon.digest import digest
from solon.errors import RunError
from solon.runs.files import free_space, refuse_special_file

ANSWERS = "answers.sqlite"
FORMAT = 2
AT_ONCE = 500
"""Keys in one query; older versions of SQLite allow at most 999."""
_TABLE = """CREATE TABLE answers (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, stage TEXT NOT NULL, reply_as TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, reused INTEGER NOT NULL, checksum TEXT NOT NULL
) WITHOUT ROWID"""
_COLUMNS = "key, value, stage, reply_as, prompt_tokens, completion_tokens, reused, checksum"
_USAGE = (
    "SELECT stage, reply_as, COUNT(*), SUM(reused), SUM(prompt_tokens), SUM(completion_tokens) "
    "FROM answers GROUP BY stage, reply_as"
)
_log = logging.getLogger(__name__)
_DAMAGED = object()
Fits = Callable[[Any], bool]
"""Whether a value has the expected shape."""


class CachedAnswer(NamedTuple):
    """One answer: its key, its value as JSON, the stage that asked, and the tokens."""

    key: str
    value: Any
    stage: str
    reply_as: str
    """The role in which the model answered: `critique`, `revision`, `answer` ..."""
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Usage:
    """The answers of one stage in one role and their tokens; `reused` counts those of earlier runs."""

    answers: int
    reused: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(slots=True)
class ResponseCache:
    """The answers of a run and, read-only, those of the runs that it reuses; files are opened at their first use."""

    path: Path
    earlier: Sequence[Path] = ()
    one_model: threading.Lock = field(default_factory=threading.Lock)
    """Held while a model of this process answers: it is asked by one thread at a time."""
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _own: sqlite3.Connection | None = None
    _others: list[tuple[Path, sqlite3.Connection]] | None = None

    def find(self, keys: Sequence[str], stage: str, fits: Fits = lambda _: True) -> dict[str, Any]:
        """The values of the known keys; an answer of an earlier run is copied into this run first.

        `fits` says whether a value has the expected shape. A damaged row of an earlier run counts as unknown, with a
        warning. Raises RunError when a file is damaged or cannot be written, and, naming the row, when a row of this
        run is damaged or does not fit; all such rows are removed first, so that the next session asks only them again.
        """
        with self._lock:
            return self._find(keys, stage, fits)

    def _find(self, keys: Sequence[str], stage: str, fits: Fits) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._own is not None or _is_there(self.path):
            for row in _select(self.path, self._connected(), keys):
                value = _value(row)
                if value is _DAMAGED or not fits(value):
                    self._drop_damaged(row[0])
                found[row[0]] = value
        for path, connection in self._opened() if len(found) < len(set(keys)) else ():
            missing = [key for key in keys if key not in found]
            known = {row[0]: (row, _value(row)) for row in _select(path, connection, missing)}
            for key in [key for key, (_, value) in known.items() if value is _DAMAGED or not fits(value)]:
                _log.warning("%s: the answer %s is damaged; the model is asked again", path, _shown(key))
                del known[key]
            self._insert([(*row[:2], stage, *row[3:6], 1) for row, _ in known.values()])
            found |= {key: value for key, (_, value) in known.items()}
        return found

    def keep(self, answers: Iterable[CachedAnswer]) -> None:
        """Store answers durably, all or none; raises RunError when they cannot be written."""
        rows = [(each.key, json.dumps(each.value), *each[2:], 0) for each in answers]
        with self._lock:
            self._insert(rows)

    def usage(self) -> Mapping[tuple[str, str], Usage]:
        """Counts and tokens by stage and role; empty when there are no answers."""
        if not _is_there(self.path):
            return {}
        with self._lock, _reporting_sqlite_errors(self.path):
            rows = self._connected().execute(_USAGE).fetchall()
        return {(stage, role): Usage(*counts) for stage, role, *counts in rows}

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            for connection in (self._own, *(each for _, each in self._others or ())):
                if connection is not None:
                    connection.close()
            self._own = self._others = None

    def _insert(self, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            sealed = [(*row, _checksum(row)) for row in rows]
            with _reporting_sqlite_errors(self.path), self._connected() as connection:
                connection.executemany(f"INSERT OR IGNORE INTO answers ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)", sealed)

    def _drop_damaged(self, key: Any) -> None:
        """Remove the row of `key` and all damaged rows, and raise RunError."""
        connection = self._connected()
        with _reporting_sqlite_errors(self.path):
            rows = connection.execute(f"SELECT {_COLUMNS} FROM answers")
            damaged = {row[0] for row in rows if row[0] == key or _value(row) is _DAMAGED}
            with connection:
                connection.executemany("DELETE FROM answers WHERE key = ?", [(each,) for each in damaged])
        more = f", and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        raise RunError(
            f"the cached answer {_shown(key)} is damaged{more}",
            place=str(self.path),
            remedy="Run the same command again: the damaged answers were removed, and their questions are asked again. "
            "Check the disk",
        )

    def _connected(self) -> sqlite3.Connection:
        if self._own is None:
            with _reporting_sqlite_errors(self.path):
                self._own = _open(self.path, "rwc")
        return self._own

    def _opened(self) -> list[tuple[Path, sqlite3.Connection]]:
        if self._others is None:
            self._others = []
            for path in self.earlier:
                if not _is_there(path):
                    if not path.parent.exists():
                        _log.warning(
                            "%s is missing; the questions that only that run answered are asked again", path.parent
                        )
                    continue
                with _reporting_sqlite_errors(path):
                    connection = _open(path, "ro")
                if _version(connection) == FORMAT:
                    self._others.append((path, connection))
                else:  # an older format with other keys: nothing would be found in it
                    connection.close()
        return self._others


@contextmanager
def response_cache_in(folder: Path, earlier: Sequence[Path] = ()) -> Iterator[ResponseCache]:
    """The cache in a run's folder, backed by those of earlier runs."""
    with closing(ResponseCache(folder / ANSWERS, [each / ANSWERS for each in earlier])) as answers:
        yield answers


def recorded_usage(folder: Path) -> Mapping[tuple[str, str], Usage]:
    """`ResponseCache.usage` of a run that is only read; empty where there are no answers, or of an older format."""
    path = folder / ANSWERS
    if not _is_there(path):
        return {}
    with _reporting_sqlite_errors(path), closing(_open(path, "ro")) as connection:
        rows = connection.execute(_USAGE).fetchall() if _version(connection) == FORMAT else []
    return {(stage, role): Usage(*counts) for stage, role, *counts in rows}


def _is_there(path: Path) -> bool:
    """Whether the file of answers exists; raises RunError for a link or a special file."""
    for name in (path.name, *(f"{path.name}-{suffix}" for suffix in ("journal", "wal", "shm"))):
        refuse_special_file(path.with_name(name))
    return path.exists()


def _open(path: Path, mode: str) -> sqlite3.Connection:
    _is_there(path)
    # A URI has the mode, so that opening a file of an earlier run neither creates nor changes it.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=60, check_same_thread=False
    )
    try:
        # A damaged byte may not be UTF-8: the checksum finds such a row, and the others stay readable.
        connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
        version = _version(connection)
        if version > FORMAT:
            raise RunError("a newer version of solon wrote the file", place=str(path), remedy="Install that version")
        if version < FORMAT and mode == "rwc":
            with connection:
                # One transaction: a kill must not leave a file with half of the changes.
                connection.execute("BEGIN IMMEDIATE")
                # Answers of an older format have other keys and no checksum.
                connection.execute("DROP TABLE IF EXISTS answers")
                connection.execute(_TABLE)
                connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _checksum(row: Sequence[Any]) -> str:
    """The checksum of all other columns of a row."""
    return digest([*row[:7]])


def _value(row: Sequence[Any]) -> Any:
    """The value of a row; `_DAMAGED` when the checksum is wrong."""
    try:
        return json.loads(row[1]) if _checksum(row) == row[7] else _DAMAGED
    except (ValueError, TypeError, RecursionError):
        return _DAMAGED


def _shown(key: Any) -> str:
    return str(key)[:64] if str(key).isalnum() else repr(key)[:64]


def _select(path: Path, connection: sqlite3.Connection, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    with _reporting_sqlite_errors(path):
        for start in range(0, len(keys), AT_ONCE):
            part = keys[start : start + AT_ONCE]
            marks = ",".join("?" * len(part))
            rows += connection.execute(f"SELECT {_COLUMNS} FROM answers WHERE key IN ({marks})", part).fetchall()
    return rows


@contextmanager
def _reporting_sqlite_errors(path: Path) -> Iterator[None]:
    """Turn an error of SQLite into a RunError that names the file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        full = free_space(path) if "full" in str(error) else ""
        raise RunError(
            f"cannot read or write the cached answers: {error}{full}",
            place=str(path),
            remedy="Free disk space or allow writing there, then resume: nothing finished is lost",
        ) from error
    except sqlite3.DatabaseError as error:
        raise RunError(
            f"the cached answers are damaged: {error}",
            place=str(path),
            remedy="Delete the file: finished stages do not need it, and unfinished ones ask the models again",
        ) from error
