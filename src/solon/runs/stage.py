"""The folder of a stage at work: what a stage is given as `out`.

`map` runs work in fixed chunks, each made durable before it is used, and `publish` makes rows and files an artefact,
whose manifest is written last. Between the two a stage may be killed at any instant: finished chunks are read back,
others run again whole, and the same rows come out, because a chunk's items depend on its position alone.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import solon
from solon.errors import RunError, StageError
from solon.outcome import count_outcomes
from solon.runs.artefact import Artefact
from solon.runs.files import sync, telling_of
from solon.runs.interrupt import StopRequest
from solon.runs.journal import Chunk, Journal, Row
from solon.runs.manifest import ROWS, Manifest, describe_files, files_hash, plain, write_manifest
from solon.runs.table import write_table

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

JOURNAL = "journal.jsonl"
CHECKPOINTS = "checkpoints"
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
    _mapped: set[str] = field(default_factory=set)
    _in_flight: bool = False
    _since: float = field(default_factory=time.monotonic)

    @property
    def stopping(self) -> bool:
        """Whether someone asked the run to stop: a trainer saves a checkpoint now, and its next report stops."""
        return self.stop.made

    def map(
        self, phase: str, items: Sequence[T], work: Callable[[Sequence[T]], Sequence[Row]], *, chunk: int
    ) -> list[Row]:
        """The rows that `work` gives for all `items`, asked in fixed chunks and in order.

        Chunks that an earlier session finished are read back. Raises StageError when a phase is mapped twice or a row
        is not JSON-able, RunError when the items are other than those of the earlier session, and Interrupted between
        two chunks when the run was asked to stop.
        """
        if phase in self._mapped:
            raise StageError(f"phase '{phase}' is mapped twice", place=str(self.path))
        self._mapped.add(phase)
        rows: list[Row] = []
        for number, start in enumerate(range(0, len(items), chunk)):
            part = items[start : start + chunk]
            here = Chunk(phase, number, len(part), len(items))
            finished = self.journal.rows(here)
            rows += self._work(here, part, work) if finished is None else finished
            self._tell(phase, start + len(part), len(items))
        return rows

    def _work(self, here: Chunk, part: Sequence[T], work: Callable[[Sequence[T]], Sequence[Row]]) -> list[Row]:
        self.stop.obey()
        self._in_flight = True
        try:
            rows = work(part)
        finally:
            self._in_flight = False
        return self.journal.append(here, rows, self._lap())

    def report(self, done: int, total: int, note: str = "") -> None:
        """Tell a person how far the work is; outside of `map` also the place at which a request to stop is obeyed."""
        self._tell("", done, total, note)
        if not self._in_flight:
            if time.monotonic() - self._since > HEARTBEAT:
                self.journal.append_worked(self._lap())
            self.stop.obey()

    def publish(
        self,
        rows: Iterable[Row],
        schema: pa.Schema,
        *,
        facts: Mapping[str, object] | None = None,
        files: Sequence[str] = (),
    ) -> Artefact:
        """Finish the stage: write the table, then the manifest, then remove journal and checkpoints.

        `files` are names in the stage's folder (folders are walked) that belong to the artefact. Raises StageError for
        a row that does not fit `schema` or a file that is missing.
        """
        rows = list(rows)
        write_table(self.path / ROWS, rows, schema)
        found = describe_files(self.path, [ROWS, *files])
        manifest = Manifest(
            stage=self.name,
            number=self.number,
            solon=solon.__version__,
            hash=files_hash(found),
            rows=len(rows),
            outcomes=count_outcomes(row["outcome"] for row in rows) if "outcome" in schema.names else {},
            seconds=round(self.journal.seconds + time.monotonic() - self._since, 3),
            key=dict(self.key),
            facts=plain(facts or {}, str(self.path)),
            files=found,
        )
        with telling_of(self.path):
            for name in found:
                sync(self.path / name)
            for folder in {(self.path / name).parent for name in found}:
                sync(folder)
        write_manifest(self.path, manifest)
        self.journal.close()
        clear_work(self.path)
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


def clear_work(folder: Path) -> None:
    """Remove what a finished stage no longer needs; does nothing the second time."""
    (folder / JOURNAL).unlink(missing_ok=True)
    if (folder / CHECKPOINTS).is_dir():
        shutil.rmtree(folder / CHECKPOINTS)
