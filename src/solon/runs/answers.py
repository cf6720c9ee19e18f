"""Every answer that a model gave in a run, found again by all that could have changed it (promise P2).

A journal remembers chunks of one stage under one key and is gone when the stage is published. The answers stay: a run
that starts from an edited constitution looks its questions up here and in the runs that it was told to reuse, and only
new questions reach a model. They are kept in an SQLite file, `answers.sqlite`, because a lookup by key must not hold a
hundred thousand texts in memory and a killed process must leave either a whole batch or none of it. The file is an aid:
no artefact depends on it, and without it a run goes on, asking again.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from solon.errors import RunError

ANSWERS = "answers.sqlite"
FORMAT = 1
AT_ONCE = 500
"""Keys in one query; SQLite takes at most 999 in its older versions."""
_TABLE = """CREATE TABLE answers (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, stage TEXT NOT NULL, reply_as TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, reused INTEGER NOT NULL
) WITHOUT ROWID"""
_COLUMNS = "key, value, stage, reply_as, prompt_tokens, completion_tokens, reused"
_log = logging.getLogger(__name__)


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
class Answers:
    """The answers of a run and, read-only, those of the runs that it reuses; files are opened when first needed."""

    path: Path
    earlier: Sequence[Path] = ()
    _own: sqlite3.Connection | None = None
    _others: list[tuple[Path, sqlite3.Connection]] | None = None

    def find(self, keys: Sequence[str], stage: str) -> dict[str, Any]:
        """The values of those keys that are known; one from an earlier run is first made the run's own.

        Raises RunError when a file is damaged or cannot be written.
        """
        found = {}
        if self._own is not None or self.path.exists():
            found = {row[0]: json.loads(row[1]) for row in _select(self.path, self._connected(), keys)}
        for path, connection in self._opened() if len(found) < len(set(keys)) else ():
            owed = [key for key in keys if key not in found]
            rows = [(*row[:2], stage, *row[3:6], 1) for row in _select(path, connection, owed)]
            self._insert(rows)
            found |= {row[0]: json.loads(row[1]) for row in rows}
        return found

    def keep(self, answers: Iterable[Answer]) -> None:
        """Make answers durable, all or none; raises RunError when the disk refuses."""
        self._insert([(each.key, json.dumps(each.value), *each[2:], 0) for each in answers])

    def usage(self) -> Mapping[tuple[str, str], Usage]:
        """Counts and tokens by stage and role; empty when the run kept no answers."""
        if not self.path.exists():
            return {}
        query = (
            "SELECT stage, reply_as, COUNT(*), SUM(reused), SUM(prompt_tokens), SUM(completion_tokens) "
            "FROM answers GROUP BY stage, reply_as"
        )
        with _telling_of(self.path):
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
            with _telling_of(self.path), self._connected() as connection:
                connection.executemany(f"INSERT OR IGNORE INTO answers ({_COLUMNS}) VALUES (?,?,?,?,?,?,?)", rows)

    def _connected(self) -> sqlite3.Connection:
        if self._own is None:
            with _telling_of(self.path):
                self._own = _open(self.path, "rwc")
        return self._own

    def _opened(self) -> list[tuple[Path, sqlite3.Connection]]:
        if self._others is None:
            self._others = []
            for path in self.earlier:
                if not path.exists():
                    if not path.parent.exists():
                        _log.warning("%s is not there; what only that run knew is asked again", path.parent)
                    continue
                with _telling_of(path):
                    self._others.append((path, _open(path, "ro")))
        return self._others


@contextmanager
def answers_in(folder: Path, earlier: Sequence[Path] = ()) -> Iterator[Answers]:
    """The answers kept in a run's folder, with those of earlier runs' folders behind them."""
    with closing(Answers(folder / ANSWERS, [each / ANSWERS for each in earlier])) as answers:
        yield answers


def _open(path: Path, mode: str) -> sqlite3.Connection:
    # As a URI, so that a file of an earlier run is never made by being looked for, nor written.
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=60)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > FORMAT:
        raise RunError("the answers were kept by a newer version of solon", place=str(path), remedy="Install it")
    if version == 0 and mode == "rwc":
        with connection:
            # An implicit transaction does not hold the two together; a kill between them must not leave half a file.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_TABLE)
            connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _select(path: Path, connection: sqlite3.Connection, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    with _telling_of(path):
        for start in range(0, len(keys), AT_ONCE):
            part = keys[start : start + AT_ONCE]
            marks = ",".join("?" * len(part))
            rows += connection.execute(f"SELECT {_COLUMNS} FROM answers WHERE key IN ({marks})", part).fetchall()
    return rows


@contextmanager
def _telling_of(path: Path) -> Iterator[None]:
    """Turn SQLite's complaint into a RunError that names the file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise RunError(
            f"the kept answers cannot be read or written: {error}",
            place=str(path),
            remedy="Make room or give the right to write there, then resume: nothing finished is lost",
        ) from error
    except sqlite3.DatabaseError as error:
        raise RunError(
            f"the kept answers are damaged: {error}",
            place=str(path),
            remedy="Delete the file: finished stages do not need it, and what only it knew is asked again",
        ) from error
