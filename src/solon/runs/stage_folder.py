"""The folder of an unfinished stage: the argument `out` of a stage.

`map` runs work in fixed chunks and makes each durable before it is used. `publish` turns rows and files into an
artefact and writes its manifest last. A stage may be killed at any time: the next session reads the finished chunks and
runs the others again. It gets the same rows, because the items of a chunk depend only on its position.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from solon.config.version import __version__
from solon.errors import EngineError, RunError, StageError
from solon.runs.artefact import Artefact
from solon.runs.executor import Executor, InProcess
from solon.runs.files import reporting_write_errors, sync
from solon.runs.freed_memory import release_freed_memory
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
from solon.runs.outcome import Outcome, count_outcomes
from solon.runs.processes import SINGLE_PROCESS, Processes
from solon.runs.progress import PROGRESS, ROWS_COUNTED, Pace, Progress, write_progress
from solon.runs.records import from_record, schema_of, to_record
from solon.runs.table import column_of, write_table

T = TypeVar("T")
R = TypeVar("R")

HEARTBEAT = 10.0
"""Seconds after which `report` stores the time worked."""
PROGRESS_EVERY = 2.0
"""Seconds after which the progress is saved again, for `solon status`."""
RELEASE_EVERY = 30.0
"""Seconds after which freed memory is given back again."""


Report = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """A report that does nothing."""


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
    """The processes that work on the stage; only a stage that trains has several."""
    made_with: Sequence[Mapping[str, object]] = ()
    """For each session what changes rows by rounding only."""
    before_publishing: Callable[[], None] = lambda: None
    """Called before the stage is published; raises when an input has changed."""
    why_unanswered: Callable[[], str] = lambda: ""
    """Why the first question got no answer; empty where that is not known."""
    executor: Executor = field(default_factory=InProcess)
    """Runs the chunks."""
    _mapped: set[str] = field(default_factory=set)
    _told: bool | None = None
    """What `stopping` answered since the last report."""
    _in_flight: bool = False
    _paces: dict[str, Pace] = field(default_factory=dict)
    _saved_at: float = -math.inf
    _released_at: float = field(default_factory=time.monotonic)
    _since: float = field(default_factory=time.monotonic)

    @property
    def stopping(self) -> bool:
        """Whether a stop was requested: a trainer saves a checkpoint now, and its next report stops.

        The next report goes by this answer: a request that comes between the two is obeyed one step later, so that no
        report stops a trainer which saved no checkpoint.
        """
        self._told = self.processes.any(self.stop.made)
        return self._told

    @property
    def follows(self) -> bool:
        """Whether this process only helps with the stage, and another process publishes it."""
        return self.processes.rank > 0

    def map(
        self,
        phase: str,
        items: Sequence[T],
        work: Callable[[Sequence[T]], Sequence[R]],
        *,
        row: type[R],
        chunk: int,
        unit: str = ROWS_COUNTED,
    ) -> list[R]:
        """The rows of `work` for all `items`, computed in fixed chunks and in order; `row` is their type.

        `unit` names what is counted, in the plural, for people. Chunks of an earlier session are read from the journal.
        Raises StageError when a phase is mapped twice or a row is not valid JSON, RunError when the number of items has
        changed, and Interrupted between two chunks when a stop was requested.
        """
        rows: list[R] = []
        chunks = self._chunks(phase, len(items), chunk)
        with closing(self._results(chunks, items, work)) as results:
            for here, start in chunks:
                finished = self._read(here, row)
                rows += self._counted(here, start, results, row, unit) if finished is None else finished
        return rows

    def stream(
        self,
        phase: str,
        items: Sequence[T],
        work: Callable[[Sequence[T]], Sequence[R]],
        *,
        row: type[R],
        chunk: int,
        unit: str = ROWS_COUNTED,
    ) -> LazySequence[R]:
        """Like `map`, for one row per item and more rows than fit into memory: it reads rows when they are used.

        `items` may be a `LazySequence`; the items of finished chunks are not made. Raises what `map` raises, and
        StageError when `work` returns another number of rows than items.
        """
        size = len(items)
        chunks = self._chunks(phase, size, chunk)
        with closing(self._results(chunks, items, work)) as results:
            for here, start in chunks:
                if self.journal.holds(here):
                    continue
                if (count := len(self._counted(here, start, results, row, unit))) != here.items:
                    raise StageError(f"phase '{phase}' gave {count} rows for {here.items} items", place=str(self.path))

        def read(start: int, stop: int) -> list[R]:
            numbers = range(start // chunk, -(-stop // chunk))
            rows = [each for number in numbers for each in self._read(_chunk(phase, number, size, chunk), row) or ()]
            skipped = numbers.start * chunk
            return rows[start - skipped : stop - skipped]

        return LazySequence(size, read, chunk)

    def _chunks(self, phase: str, size: int, chunk: int) -> list[tuple[Chunk, int]]:
        """The chunks of a phase, each with the position of its first item."""
        if phase in self._mapped:
            raise StageError(f"phase '{phase}' is mapped twice", place=str(self.path))
        self._mapped.add(phase)
        return [(_chunk(phase, number, size, chunk), start) for number, start in enumerate(range(0, size, chunk))]

    def _read(self, here: Chunk, row: type[R]) -> list[R] | None:
        """The rows of a finished chunk; None when it is not finished."""
        records = self.journal.rows(here)
        place = f"{self.journal.path}, phase '{here.phase}', chunk {here.number}"
        return None if records is None else [from_record(row, record, place) for record in records]

    def _results(
        self, chunks: Sequence[tuple[Chunk, int]], items: Sequence[T], work: Callable[[Sequence[T]], Sequence[R]]
    ) -> Generator[Sequence[R], None, None]:
        """The results of the unfinished chunks, in order, each computed when it is requested."""
        unfinished = (items[start : start + here.items] for here, start in chunks if not self.journal.holds(here))
        return self.executor.map(work, unfinished)

    def _counted(self, here: Chunk, start: int, results: Iterator[Sequence[R]], row: type[R], unit: str) -> Sequence[R]:
        """The rows of the next unfinished chunk, with the progress before it, where that is new, and after it."""
        if here.phase not in self._paces:
            self._show(here.phase, start, here.total, unit=unit)
        rows = self._next(here, results, row)
        self._show(here.phase, start + here.items, here.total, unit=unit)
        return rows

    def _next(self, here: Chunk, results: Iterator[Sequence[R]], row: type[R]) -> list[R]:
        """Compute the next unfinished chunk, make it durable, and return its rows."""
        self.stop.obey()
        self._in_flight = True
        try:
            rows = next(results)
        finally:
            self._in_flight = False
        records = self.journal.append(here, [to_record(each) for each in rows], self._lap())
        return [from_record(row, record) for record in records]

    def report(self, done: int, total: int, note: str = "", *, unit: str = ROWS_COUNTED) -> None:
        """Report progress; outside of `map` this also stops the run when a stop was requested.

        `unit` names what is counted, in the plural. The rate starts with the first report, so the first tells what is
        done before the work begins.
        """
        self._show("", done, total, note, unit)
        if not self._in_flight:
            if not self.follows and time.monotonic() - self._since > HEARTBEAT:
                self.journal.append_worked(self._lap())
            stopping = self.stopping if self._told is None else self._told
            self._told = None
            if stopping:
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

        Rows, of the type `row`, are written as they come, so they may be more than fit into memory. `files` are the
        artefact's other files and folders, by name in the stage's folder. Raises StageError for a value that does not
        fit its column, or a missing file, and EngineError when no row has an answer: the stage then begins anew.
        """
        self.before_publishing()
        count = write_table(self.path / ROWS, rows, row)
        outcomes = column_of(self.path / ROWS, "outcome") if "outcome" in schema_of(row).names else []
        counts = count_outcomes(outcomes)
        if counts == {Outcome.PROVIDER_ERROR.value: count}:
            raise self._unanswered(count)
        found = describe_files(self.path, [ROWS, *files])
        manifest = Manifest(
            stage=self.name,
            number=self.number,
            solon=__version__,
            hash=files_hash(found),
            rows=count,
            outcomes=counts,
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

    def _unanswered(self, count: int) -> EngineError:
        """The error for a stage without any answer; its rows are forgotten, so that the next session asks again."""
        self.journal.close()
        clear_work(self.path)
        why = self.why_unanswered()
        return EngineError(
            f"the model answered none of {count} rows{f'; the first time, the server {why}' if why else ''}",
            place=self.name,
            remedy="Mend that, then run the same command again" if why else "See the warnings above",
        )

    def follow(self) -> Artefact:
        """Wait for the artefact that the main process publishes; a helping process ends with this.

        Raises RunError when this process finds another artefact.
        """
        published = self.processes.broadcast("")
        artefact = self._published()
        if artefact.hash != published:
            raise RunError("not the artefact that the main process published", place=str(self.path))
        return artefact

    def _published(self) -> Artefact:
        artefact = Artefact.open(self.path)
        if artefact is None:
            raise RunError("the manifest disappeared right after it was written", place=str(self.path))
        return artefact

    def _show(self, phase: str, done: int, total: int, note: str = "", unit: str = ROWS_COUNTED) -> None:
        rate = self._paces.setdefault(phase, Pace()).rate(done)
        progress = Progress(self.name, phase, done, total, note, unit, rate)
        if not self.follows and time.monotonic() - self._saved_at > PROGRESS_EVERY:
            self._saved_at = time.monotonic()
            write_progress(self.path, progress)
        if time.monotonic() - self._released_at > RELEASE_EVERY:
            release_freed_memory()
            self._released_at = time.monotonic()
        self.report_to(progress)

    def _lap(self) -> float:
        """The seconds since the last call."""
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        return round(seconds, 3)


def _chunk(phase: str, number: int, size: int, chunk: int) -> Chunk:
    return Chunk(phase, number, min(chunk, size - number * chunk), size)


def clear_work(folder: Path) -> None:
    """Remove journal, progress and checkpoints of a finished stage, if they exist."""
    for name in (JOURNAL, PROGRESS):
        (folder / name).unlink(missing_ok=True)
    if (folder / CHECKPOINTS).is_symlink():
        (folder / CHECKPOINTS).unlink()
    elif (folder / CHECKPOINTS).is_dir():
        shutil.rmtree(folder / CHECKPOINTS)
