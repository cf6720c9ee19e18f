"""Every answer that a model gave in a run, found again by all that could have changed it (promise P2).

A journal remembers chunks of one stage under one key and is gone when the stage is published. The answers stay: a run
that starts from an edited constitution looks its questions up here and in the runs that it was told to reuse, and only
new questions reach a model. They are kept in an SQLite file, `answers.sqlite`, because a lookup by key must not hold a
hundred thousand texts in memory and a killed process must leave either a whole batch or none of it. Each row carries a
checksum over all of it, and a value must have the shape that its reader expects: SQLite would hand out a changed byte
as it is, and it would become a training row. The file is an aid: no artefact depends on it, and without it, or without
a row of it, a run goes on, asking again.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from solon.digest import digest
from solon.errors import RunError
from solon.runs.files import free_space, refuse_special_file

ANSWERS = "answers.sqlite"
FORMAT = 2
AT_ONCE = 500
"""Keys in one query; SQLite takes at most 999 in its older versions."""
_TABLE = """CREATE TABLE answers (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, stage TEXT NOT NULL, reply_as TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, reused INTEGER NOT NULL, checksum TEXT NOT NULL
) WITHOUT ROWID"""
_COLUMNS = "key, value, stage, reply_as, prompt_tokens, completion_tokens, reused, checksum"
_log = logging.getLogger(__name__)


_DAMAGED = object()
Fits = Callable[[Any], bool]


def _anything(value: Any) -> bool:
    """Whether it has a shape that nobody asked for: it has."""
    return True


class Answer(NamedTuple):
    """One answer: its key, its value as JSON gives it back, and what was asked by whom."""

    key: str
    value: Any
    stage: str
    reply_as: str
    """The role in which the model answered: `critique`, `revision`, `answer` ..."""
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Answers of one stage in one role, with the tokens of all of them; `reused` ones came from an earlier run."""

    answers: int
    reused: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(slots=True)
class ResponseCache:
    """The answers of a run and, read-only, those of the runs that it reuses; files are opened when first needed."""

    path: Path
    earlier: Sequence[Path] = ()
    _own: sqlite3.Connection | None = None
    _others: list[tuple[Path, sqlite3.Connection]] | None = None

    def find(self, keys: Sequence[str], stage: str, fits: Fits = _anything) -> dict[str, Any]:
        """The values of those keys that are known; one from an earlier run is first made the run's own.

        `fits` says whether a value has the shape that is expected. A row of an earlier run that is damaged counts as
        unknown, with a warning. Raises RunError when a file is damaged or cannot be written, and, naming the row, when
        an own row is not what was kept or does not fit; all such rows are removed first, so that the next session asks
        them again and keeps the others.
        """
        found: dict[str, Any] = {}
        if self._own is not None or _is_there(self.path):
            for row in _select(self.path, self._connected(), keys):
                value = _value(row)
                if value is _DAMAGED or not fits(value):
                    self._drop_damaged(row[0])
                found[row[0]] = value
        for path, connection in self._opened() if len(found) < len(set(keys)) else ():
            owed = [key for key in keys if key not in found]
            known = {row[0]: (row, _value(row)) for row in _select(path, connection, owed)}
            for key in [key for key, (_, value) in known.items() if value is _DAMAGED or not fits(value)]:
                _log.warning("%s: the answer %s is damaged there and is asked again", path, _shown(key))
                del known[key]
            self._insert([(*row[:2], stage, *row[3:6], 1) for row, _ in known.values()])
            found |= {key: value for key, (_, value) in known.items()}
        return found

    def keep(self, answers: Iterable[Answer]) -> None:
        """Make answers durable, all or none; raises RunError when the disk refuses."""
        self._insert([(each.key, json.dumps(each.value), *each[2:], 0) for each in answers])

    def usage(self) -> Mapping[tuple[str, str], Usage]:
        """Counts and tokens by stage and role; empty when the run kept no answers."""
        if not _is_there(self.path):
            return {}
        query = (
            "SELECT stage, reply_as, COUNT(*), SUM(reused), SUM(prompt_tokens), SUM(completion_tokens) "
            "FROM answers GROUP BY stage, reply_as"
        )
        with _reporting_sqlite_errors(self.path):
            rows = self._connected().execute(query).fetchall()
        return {(stage, role): Usage(*counts) for stage, role, *counts in rows}

    def close(self) -> None:
        """Close all files."""
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
        """Remove the row of `key` and every other one that is not what was kept, and raise RunError."""
        connection = self._connected()
        with _reporting_sqlite_errors(self.path):
            rows = connection.execute(f"SELECT {_COLUMNS} FROM answers")
            damaged = {row[0] for row in rows if row[0] == key or _value(row) is _DAMAGED}
            with connection:
                connection.executemany("DELETE FROM answers WHERE key = ?", [(each,) for each in damaged])
        more = f", and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        raise RunError(
            f"the kept answer {_shown(key)} is damaged{more}",
            place=str(self.path),
            remedy="Run the same command again: what is damaged was removed and is asked anew, the rest is kept. "
            "Look at the disk's health",
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
                        _log.warning("%s is not there; what only that run knew is asked again", path.parent)
                    continue
                with _reporting_sqlite_errors(path):
                    connection = _open(path, "ro")
                if _version(connection) == FORMAT:
                    self._others.append((path, connection))
                else:  # made before questions were told apart as they are now, so none of it would be found
                    connection.close()
        return self._others


@contextmanager
def response_cache_in(folder: Path, earlier: Sequence[Path] = ()) -> Iterator[ResponseCache]:
    """The answers kept in a run's folder, with those of earlier runs' folders behind them."""
    with closing(ResponseCache(folder / ANSWERS, [each / ANSWERS for each in earlier])) as answers:
        yield answers


def _is_there(path: Path) -> bool:
    """Whether there is a file of answers; raises RunError for a link or another thing in its place."""
    for name in (path.name, *(f"{path.name}-{suffix}" for suffix in ("journal", "wal", "shm"))):
        refuse_special_file(path.with_name(name))
    return path.exists()


def _open(path: Path, mode: str) -> sqlite3.Connection:
    _is_there(path)
    # As a URI, so that a file of an earlier run is never made by being looked for, nor written.
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=60)
    try:
        # A damaged byte may be no text; the checksum tells of it, and one such row does not hide the others.
        connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
        version = _version(connection)
        if version > FORMAT:
            raise RunError("the answers were kept by a newer version of solon", place=str(path), remedy="Install it")
        if version < FORMAT and mode == "rwc":
            with connection:
                # A transaction holds the two together: a kill between them must not leave half a file.
                connection.execute("BEGIN IMMEDIATE")
                # Answers of an older format have no checksum, and keys under which nothing is looked for any more.
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
    """Over all columns of a row but the checksum itself."""
    return digest([*row[:7]])


def _value(row: Sequence[Any]) -> Any:
    """The value of a whole row, `_DAMAGED` when the row is not what was kept."""
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
    """Turn SQLite's complaint into a RunError that names the file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        full = free_space(path) if "full" in str(error) else ""
        raise RunError(
            f"the kept answers cannot be read or written: {error}{full}",
            place=str(path),
            remedy="Make room or give the right to write there, then resume: nothing finished is lost",
        ) from error
    except sqlite3.DatabaseError as error:
        raise RunError(
            f"the kept answers are damaged: {error}",
            place=str(path),
            remedy="Delete the file: finished stages do not need it, and what only it knew is asked again",
        ) from error
