"""The folder of a stage at work: what a stage is given as `out`.

`map` runs work in fixed chunks, each made durable before it is used, and `publish` makes rows and files an artefact,
whose manifest is written last. Between the two a stage may be killed at any instant: finished chunks are read back,
others run again whole, and the same rows come out, because a chunk's items depend on its position alone.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import solon
from solon.errors import RunError, StageError
from solon.runs.artefact import Artefact
from solon.runs.executor import Executor, InProcess
from solon.runs.files import reporting_write_errors, sync
from solon.runs.interrupt import StopRequest
from solon.runs.journal import Chunk, Journal
from solon.runs.lazy_sequence import LazySequence
from solon.runs.manifest import (
    CHECKPOINTS,
    JOURNAL,
    ROWS,
    Manifest,
    describe_files,
    files_hash,
    plain,
    write_manifest,
)
from solon.runs.outcome import count_outcomes
from solon.runs.processes import SINGLE_PROCESS, Processes
from solon.runs.records import from_record, schema_of, to_record
from solon.runs.table import column_of, write_table

T = TypeVar("T")
R = TypeVar("R")

HEARTBEAT = 10.0
"""Seconds after which `report` makes the time worked durable."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is, for a person."""

    stage: str
    phase: str
    done: int
    total: int
    note: str = ""


Report = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """Report to nobody."""


def nothing() -> None:
    """Do nothing."""


@dataclass(slots=True)
class StageFolder:
    """An unfinished stage; made by `RunDirectory.begin`."""

    path: Path
    number: int
    name: str
    key: Mapping[str, object]
    journal: Journal
    report_to: Report = ignore
    stop: StopRequest = field(default_factory=StopRequest)
    processes: Processes = SINGLE_PROCESS
    """Who else does the stage; only a stage that trains is done by several."""
    made_with: Sequence[Mapping[str, object]] = ()
    """What moves rows by rounding alone, in each session that worked on the stage."""
    before_publishing: Callable[[], None] = nothing
    """Called before the stage is published; raises where what it was made of is other now."""
    executor: Executor = field(default_factory=InProcess)
    """Where chunks are worked on."""
    _mapped: set[str] = field(default_factory=set)
    _in_flight: bool = False
    _since: float = field(default_factory=time.monotonic)

    @property
    def stopping(self) -> bool:
        """Whether someone asked the run to stop: a trainer saves a checkpoint now, and its next report stops."""
        return self.processes.any(self.stop.made)

    @property
    def follows(self) -> bool:
        """Whether this process only helps with the stage, and another one writes and publishes it."""
        return self.processes.rank > 0

    def map(
        self, phase: str, items: Sequence[T], work: Callable[[Sequence[T]], Sequence[R]], *, row: type[R], chunk: int
    ) -> list[R]:
        """The rows that `work` gives for all `items`, asked in fixed chunks and in order; `row` is their type.

        Chunks that an earlier session finished are read back. Raises StageError when a phase is mapped twice or a row
        is not JSON-able, RunError when the items are other than those of the earlier session, and Interrupted between
        two chunks when the run was asked to stop.
        """
        rows: list[R] = []
        chunks = self._chunks(phase, len(items), chunk)
        with closing(self._results(chunks, items, work)) as results:
            for here, start in chunks:
                finished = self._read(here, row)
                rows += self._next(here, results, row) if finished is None else finished
                self._tell(phase, start + here.items, len(items))
        return rows

    def stream(
        self, phase: str, items: Sequence[T], work: Callable[[Sequence[T]], Sequence[R]], *, row: type[R], chunk: int
    ) -> LazySequence[R]:
        """As `map`, for one row per item and more of them than memory holds: what it returns reads them when asked.

        `items` may be lazy as well; of chunks that an earlier session finished they are not looked at. Raises what
        `map` raises, and StageError when `work` gives another number of rows than items.
        """
        size = len(items)
        chunks = self._chunks(phase, size, chunk)
        with closing(self._results(chunks, items, work)) as results:
            for here, start in chunks:
                if not self.journal.holds(here) and (given := len(self._next(here, results, row))) != here.items:
                    raise StageError(f"phase '{phase}' gave {given} rows for {here.items} items", place=str(self.path))
                self._tell(phase, start + here.items, size)

        def read(start: int, stop: int) -> list[R]:
            numbers = range(start // chunk, -(-stop // chunk))
            rows = [each for number in numbers for each in self._read(_chunk(phase, number, size, chunk), row) or ()]
            skipped = numbers.start * chunk
            return rows[start - skipped : stop - skipped]

        return LazySequence(size, read, chunk)

    def _chunks(self, phase: str, size: int, chunk: int) -> list[tuple[Chunk, int]]:
        """A phase's chunks, each with the position of its first item."""
        if phase in self._mapped:
            raise StageError(f"phase '{phase}' is mapped twice", place=str(self.path))
        self._mapped.add(phase)
        return [(_chunk(phase, number, size, chunk), start) for number, start in enumerate(range(0, size, chunk))]

    def _read(self, here: Chunk, row: type[R]) -> list[R] | None:
        """The rows of a finished chunk; None when it is owed."""
        records = self.journal.rows(here)
        place = f"{self.journal.path}, phase '{here.phase}', chunk {here.number}"
        return None if records is None else [from_record(row, record, place) for record in records]

    def _results(
        self, chunks: Sequence[tuple[Chunk, int]], items: Sequence[T], work: Callable[[Sequence[T]], Sequence[R]]
    ) -> Generator[Sequence[R], None, None]:
        """The results of the chunks that no earlier session finished, in order; worked on when they are asked for."""
        owed = (items[start : start + here.items] for here, start in chunks if not self.journal.holds(here))
        return self.executor.map(work, owed)

    def _next(self, here: Chunk, results: Iterator[Sequence[R]], row: type[R]) -> list[R]:
        """The rows of the next chunk that is owed, once they are durable."""
        self.stop.obey()
        self._in_flight = True
        try:
            rows = next(results)
        finally:
            self._in_flight = False
        records = self.journal.append(here, [to_record(each) for each in rows], self._lap())
        return [from_record(row, record) for record in records]

    def report(self, done: int, total: int, note: str = "") -> None:
        """Tell a person how far the work is; outside of `map` also the place at which a request to stop is obeyed."""
        self._tell("", done, total, note)
        if not self._in_flight:
            if not self.follows and time.monotonic() - self._since > HEARTBEAT:
                self.journal.append_worked(self._lap())
            if self.stopping:
                self.stop.made = True
                self.stop.obey()

    def publish(
        self,
        rows: Iterable[R],
        row: type[R],
        *,
        facts: Mapping[str, object] | None = None,
        files: Sequence[str] = (),
    ) -> Artefact:
        """Finish the stage: write the table, then the manifest, then remove journal and checkpoints.

        Rows, of the type `row`, are written as they come, so they may be more than memory holds. `files` are names in
        the stage's folder (folders are walked) that belong to the artefact. Raises StageError for a row with a value
        that does not fit its column, or a file that is missing.
        """
        self.before_publishing()
        count = write_table(self.path / ROWS, rows, row)
        outcomes = column_of(self.path / ROWS, "outcome") if "outcome" in schema_of(row).names else []
        found = describe_files(self.path, [ROWS, *files])
        manifest = Manifest(
            stage=self.name,
            number=self.number,
            solon=solon.__version__,
            hash=files_hash(found),
            rows=count,
            outcomes=count_outcomes(outcomes),
            seconds=round(self.journal.seconds + time.monotonic() - self._since, 3),
            key=dict(self.key),
            made_with=[dict(each) for each in self.made_with],
            facts=plain(facts or {}, str(self.path)),
            files=found,
        )
        with reporting_write_errors(self.path):
            for name in found:
                sync(self.path / name)
            for folder in {(self.path / name).parent for name in found}:
                sync(folder)
        write_manifest(self.path, manifest)
        self.journal.close()
        clear_work(self.path)
        self.processes.broadcast(manifest.hash)
        return self._published()

    def follow(self) -> Artefact:
        """The artefact that the main process publishes, once it has; what a helping process ends with.

        Raises RunError when this process does not see it.
        """
        told = self.processes.broadcast("")
        artefact = self._published()
        if artefact.hash != told:
            raise RunError("another artefact than the main process published", place=str(self.path))
        return artefact

    def _published(self) -> Artefact:
        artefact = Artefact.open(self.path)
        if artefact is None:
            raise RunError("the manifest is gone right after it was written", place=str(self.path))
        return artefact

    def _tell(self, phase: str, done: int, total: int, note: str = "") -> None:
        self.report_to(Progress(self.name, phase, done, total, note))

    def _lap(self) -> float:
        """Seconds since the last lap."""
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        return round(seconds, 3)


def _chunk(phase: str, number: int, size: int, chunk: int) -> Chunk:
    return Chunk(phase, number, min(chunk, size - number * chunk), size)


def clear_work(folder: Path) -> None:
    """Remove what a finished stage no longer needs; does nothing the second time."""
    (folder / JOURNAL).unlink(missing_ok=True)
    if (folder / CHECKPOINTS).is_symlink():
        (folder / CHECKPOINTS).unlink()
    elif (folder / CHECKPOINTS).is_dir():
        shutil.rmtree(folder / CHECKPOINTS)
