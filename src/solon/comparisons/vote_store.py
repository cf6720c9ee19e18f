"""The file of votes: an SQLite database, `votes.sqlite`, with one table for each kind of row.

Every method opens a connection of its own, works in one transaction and closes it, so that threads and processes may
share the file. A method returns when its rows are on the disk (a rollback journal, `synchronous=EXTRA`): what the page
shows as saved survives a power cut. Rows are added and never changed, but for the two replies of a turn, which are
filled in once. Primary keys refuse a second turn or vote of the same number, whichever process sends it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from solon.comparisons.vote_rows import (
    CastVote,
    ComparedConversation,
    ComparedModel,
    ComparedTurn,
    JudgedBy,
    KeptSetting,
    VoteMode,
    VoteRecord,
    prompt_at,
)
from solon.errors import InputError, RunError
from solon.runs.records import from_record, to_record

R = TypeVar("R")

VOTES = "votes.sqlite"
"""The file's name in the folder of a comparison."""
SETTINGS = "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)"
"""Files of earlier versions have no such table."""
HEADER = b"SQLite format 3\x00"
_APPLICATION = 0x534F4C56
"""Marks a database as a file of votes (`SOLV`)."""
_VERSION = 1
_PATIENCE = 30.0
"""Seconds to wait for another process that is writing."""
_SCHEMA = """
CREATE TABLE models (key TEXT PRIMARY KEY, name TEXT NOT NULL, spec TEXT NOT NULL, identity TEXT NOT NULL);
CREATE TABLE conversations (
    id TEXT PRIMARY KEY, mode TEXT NOT NULL, judged_by TEXT NOT NULL, judge TEXT NOT NULL, seed INTEGER NOT NULL,
    begun_at TEXT NOT NULL
);
CREATE TABLE turns (
    conversation TEXT NOT NULL REFERENCES conversations, number INTEGER NOT NULL, text TEXT NOT NULL,
    source TEXT NOT NULL, opening TEXT NOT NULL,
    model_a TEXT NOT NULL REFERENCES models, model_b TEXT NOT NULL REFERENCES models,
    seed_a INTEGER NOT NULL, seed_b INTEGER NOT NULL, reply_a TEXT, reply_b TEXT, finish_a TEXT, finish_b TEXT,
    failed_because TEXT NOT NULL, PRIMARY KEY (conversation, number)
);
CREATE TABLE votes (
    conversation TEXT NOT NULL, number INTEGER NOT NULL, preferred TEXT NOT NULL, strength TEXT,
    continued TEXT NOT NULL, p_a REAL, undecided_because TEXT NOT NULL, cast_at TEXT NOT NULL,
    PRIMARY KEY (conversation, number), FOREIGN KEY (conversation, number) REFERENCES turns
);
"""
_TABLES = {
    ComparedModel: "models", ComparedConversation: "conversations", ComparedTurn: "turns", CastVote: "votes",
    KeptSetting: "settings",
}  # fmt: skip


class VoteStore:
    """A file of votes, which is made when it does not exist."""

    def __init__(self, path: Path) -> None:
        """Raises InputError for another kind of file, and RunError when the file cannot be written."""
        self.path = path
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
        # A file that is there is only read, so that votes on a read-only disk can be rated.
        with self._transaction("DEFERRED") as connection:
            new = _is_empty(connection)
        if new:
            with self._transaction() as connection:
                if _is_empty(connection):  # no other process was faster
                    for statement in _SCHEMA.split(";\n"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                    connection.execute(f"PRAGMA user_version = {_VERSION}")
        with self._transaction("DEFERRED") as connection:
            self._check(connection)

    @classmethod
    def existing(cls, path: Path) -> VoteStore:
        """The file of votes at a path; raises InputError when there is none."""
        if not path.is_file():
            remedy = "Cast votes with: solon compare MODEL_A MODEL_B"
            raise InputError("no file of votes", place=str(path), remedy=remedy)
        return cls(path)

    # Writing ----------------------------------------------------------------------------------------------------------

    def add_models(self, models: Iterable[ComparedModel]) -> None:
        """Add the models that are not there yet."""
        with self._transaction() as connection:
            for model in models:
                _insert(connection, model, "INSERT OR IGNORE")

    def keep(self, settings: Iterable[KeptSetting]) -> None:
        """Add the settings that are not there yet; raises InputError, and adds none, where one has another value.

        So votes that came about in another way are never taken for those that are asked for.
        """
        with self._transaction() as connection:
            connection.execute(SETTINGS)
            for each in settings:
                _insert(connection, each, "INSERT OR IGNORE")
                found = connection.execute("SELECT value FROM settings WHERE name = ?", (each.name,)).fetchone()[0]
                if found != each.value:
                    cause = f"the votes there have another {each.name}: {found}"
                    remedy = f"Take another --out for: {each.value}"
                    raise InputError(cause, place=str(self.path), remedy=remedy)

    def begin(self, conversation: ComparedConversation) -> bool:
        """Add a conversation; False when there is one with its id."""
        return self._added(conversation)

    def add_turn(self, turn: ComparedTurn) -> bool:
        """Add a turn without replies; False when the conversation has a turn of its number."""
        return self._added(turn)

    def fill(self, turn: ComparedTurn) -> None:
        """Add the replies of a turn, unless they are there."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE turns SET reply_a = ?, reply_b = ?, finish_a = ?, finish_b = ?, failed_because = ? "
                "WHERE conversation = ? AND number = ? AND reply_a IS NULL",
                (
                    turn.reply_a, turn.reply_b, turn.finish_a, turn.finish_b, turn.failed_because,
                    turn.conversation, turn.number,
                ),
            )  # fmt: skip

    def add_vote(self, vote: CastVote) -> bool:
        """Add a vote; False when there is a vote on its turn. It is on the disk when this returns."""
        return self._added(vote)

    # Reading ----------------------------------------------------------------------------------------------------------

    def models(self) -> dict[str, ComparedModel]:
        """Every model that ever took part, by key."""
        return {model.key: model for model in self._select(ComparedModel)}

    def conversation(self, id_: str) -> ComparedConversation | None:
        """The conversation with an id, if there is one."""
        return next(iter(self._select(ComparedConversation, "WHERE id = ?", (id_,))), None)

    def latest(self, modes: Iterable[VoteMode], voter: str, most: int) -> list[tuple[ComparedConversation, int]]:
        """People's conversations that have a turn, the latest first, with their numbers of votes; at most `most`.

        Those of all people where `voter` is empty.
        """
        names = [str(mode) for mode in modes]
        found = self._select(
            ComparedConversation,
            f"WHERE judged_by = ? AND mode IN ({', '.join('?' * len(names))}) AND (? = '' OR judge = ?) AND id IN "
            "(SELECT conversation FROM turns) ORDER BY rowid DESC LIMIT ?",
            (str(JudgedBy.PERSON), *names, voter, voter, most),
        )
        return [(each, sum(vote is not None for _, vote in self.turns(each.id))) for each in found]

    def turns(self, id_: str) -> list[tuple[ComparedTurn, CastVote | None]]:
        """The turns of a conversation in order, each with its vote if it has one."""
        turns = self._select(ComparedTurn, "WHERE conversation = ? ORDER BY number", (id_,))
        votes = {vote.number: vote for vote in self._select(CastVote, "WHERE conversation = ?", (id_,))}
        return [(turn, votes.get(turn.number)) for turn in turns]

    def count(self) -> int:
        """How many votes there are."""
        with self._transaction("DEFERRED") as connection:
            return int(connection.execute("SELECT count(*) FROM votes").fetchone()[0])

    def records(self) -> Iterator[VoteRecord]:
        """Every vote with its conversation, turn and models, in the order of the conversations."""
        for conversation in self._select(ComparedConversation, "ORDER BY rowid"):
            before: list[tuple[ComparedTurn, CastVote]] = []
            for turn, vote in self.turns(conversation.id):
                if vote is None:
                    break
                yield _joined(conversation, before, turn, vote)
                before.append((turn, vote))

    # Connections ------------------------------------------------------------------------------------------------------

    def _added(self, row: object) -> bool:
        with self._transaction() as connection:
            return _insert(connection, row, "INSERT OR IGNORE")

    def _select(self, row: type[R], condition: str = "", values: Sequence[object] = ()) -> list[R]:
        names = [field.name for field in fields(row)]  # type: ignore[arg-type]  # a dataclass
        with self._transaction("DEFERRED") as connection:
            asked = f"SELECT {', '.join(names)} FROM {_TABLES[row]} {condition}"
            found = connection.execute(asked, tuple(values)).fetchall()
        return [from_record(row, _plain(dict(zip(names, each, strict=True))), str(self.path)) for each in found]

    @contextmanager
    def _transaction(self, how: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """A connection in a transaction of its own; raises InputError and RunError in place of SQLite's errors."""
        try:
            with closing(sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = EXTRA")
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute(f"BEGIN {how}")
                try:
                    yield connection
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            remedy = "Free disk space or allow writing there, and end other programs that have the file open"
            raise RunError(f"cannot use the file of votes: {error}", place=str(self.path), remedy=remedy) from error
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:
                raise
            raise self._another_file(str(error)) from error

    def _check(self, connection: sqlite3.Connection) -> None:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if application != _APPLICATION:
            raise self._another_file("another program's database")
        if version != _VERSION:
            cause = f"the file of votes has the form {version}, and this version of Solon reads {_VERSION}"
            raise InputError(cause, place=str(self.path), remedy="Use the version that wrote it")

    def _another_file(self, why: str) -> InputError:
        return InputError(f"not a file of votes ({why})", place=str(self.path), remedy="Name a file that compare wrote")


def _is_empty(connection: sqlite3.Connection) -> bool:
    return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def _insert(connection: sqlite3.Connection, row: object, how: str) -> bool:
    record = to_record(row)
    values = [json.dumps(value) if isinstance(value, list) else value for value in record.values()]
    places = ", ".join("?" * len(values))
    done = connection.execute(f"{how} INTO {_TABLES[type(row)]} ({', '.join(record)}) VALUES ({places})", values)
    return done.rowcount == 1


def _plain(record: dict[str, object]) -> dict[str, object]:
    """The record with the opening of a turn, which is stored as JSON, as a list of messages."""
    if isinstance(opening := record.get("opening"), str):
        record["opening"] = json.loads(opening)
    return record


def _joined(
    conversation: ComparedConversation, before: list[tuple[ComparedTurn, CastVote]], turn: ComparedTurn, vote: CastVote
) -> VoteRecord:
    return VoteRecord(
        conversation=conversation.id,
        number=turn.number,
        mode=conversation.mode,
        judged_by=conversation.judged_by,
        judge=conversation.judge,
        prompt=prompt_at(before, turn),
        source=turn.source,
        model_a=turn.model_a,
        model_b=turn.model_b,
        reply_a=turn.reply_a or "",
        reply_b=turn.reply_b or "",
        finish_a=turn.finish_a or "",
        finish_b=turn.finish_b or "",
        seed=conversation.seed,
        seed_a=turn.seed_a,
        seed_b=turn.seed_b,
        preferred=vote.preferred,
        strength=vote.strength,
        continued=vote.continued,
        p_a=vote.p_a,
        undecided_because=vote.undecided_because,
        cast_at=vote.cast_at,
    )
