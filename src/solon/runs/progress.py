"""The progress of a run: how far a stage is, how fast, and who shows it.

A stage counts what it works on (replies, steps of the optimiser) and names it. The rate is that of a sliding window:
the last minute, or the last few reports where they come less often. So a pause, a slow start and work that an earlier
session did do not distort it, and until there is a rate the time left is unknown.

The pipeline calls a `Display`, which need not be a terminal: the command line has displays for terminals and for plain
logs, and a program passes `Silent` or its own. Calls come in order, from one thread: a stage starts, reports progress
any number of times, and finishes. A stage that an earlier session finished is only mentioned.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from solon.errors import RunError
from solon.runs.files import refuse_special_file, write_atomically

PROGRESS = "progress.json"
"""The file in the folder of an unfinished stage that says how far it is, for `solon status`."""
ROWS_COUNTED = "rows"
WINDOW = 60.0
"""Seconds of the sliding window."""
REPORTS = 4
"""Reports that count whatever their age."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a stage: `done` of `total` of what `unit` names, in one of its phases."""

    stage: str
    phase: str
    done: int
    total: int
    note: str = ""
    unit: str = ROWS_COUNTED
    """What is counted, in the plural, such as `replies` or `critiques of step 1/4`."""
    rate: FiniteFloat | None = None
    """How many a second; None until two reports give one."""

    @property
    def seconds_left(self) -> float | None:
        """The time until all are done at this rate; None when it is unknown."""
        left = self.total - self.done
        if left <= 0:
            return 0.0
        return left / self.rate if self.rate is not None and self.rate > 0 else None


@dataclass(slots=True)
class Pace:
    """The rate of one phase of a stage, in a sliding window."""

    now: Callable[[], float] = time.monotonic
    _reports: deque[tuple[float, int]] = field(default_factory=deque)

    def rate(self, done: int) -> float | None:
        """Items a second after a report that `done` are finished; None when it is the first, or no time has passed.

        A smaller number than before begins anew.
        """
        reports, now = self._reports, self.now()
        if reports and done < reports[-1][1]:
            reports.clear()
        reports.append((now, done))
        while len(reports) > REPORTS and reports[0][0] < now - WINDOW:
            reports.popleft()
        seconds, items = now - reports[0][0], done - reports[0][1]
        return items / seconds if seconds > 0 and items > 0 else None


class SavedProgress(BaseModel):
    """The content of progress.json."""

    model_config = ConfigDict(frozen=True)

    progress: Progress
    at: FiniteFloat
    """When it was written, in seconds since 1970."""


def write_progress(folder: Path, progress: Progress) -> None:
    """Save the progress of the stage in `folder`; a failure is ignored, since nothing but messages depends on it."""
    with suppress(RunError):
        write_atomically(folder / PROGRESS, json.dumps({"progress": asdict(progress), "at": time.time()}) + "\n")


def latest_progress(run: Path) -> SavedProgress | None:
    """What the unfinished stages of a run said last."""
    found = (saved_progress(file.parent) for file in run.glob(f"[0-9][0-9]-*/{PROGRESS}"))
    return max((each for each in found if each is not None), key=lambda each: each.at, default=None)


def saved_progress(folder: Path) -> SavedProgress | None:
    """How far the stage in `folder` was when it last said so; None when it did not, or the file is unreadable."""
    try:
        refuse_special_file(folder / PROGRESS)
        return SavedProgress.model_validate_json((folder / PROGRESS).read_bytes())
    except (OSError, ValidationError, RecursionError, RunError):
        return None


class Display(Protocol):
    """A front end for the progress of a run."""

    def stage_started(self, number: int, name: str, total_stages: int) -> None:
        """Stage `number` of `total_stages` begins, or continues the work of an earlier session."""
        ...

    def progress(self, at: Progress) -> None:
        """How far the current stage is."""
        ...

    def stage_finished(self, name: str, rows: int, outcomes: Mapping[str, int], seconds: float, unit: str = "") -> None:
        """The current stage is published; `seconds` counts the work of all sessions.

        `unit` names what its rows are, `steps` for one that trains; it follows from the stage's name when empty.
        """
        ...

    def remark(self, line: str) -> None:
        """A message about the stage that has just finished."""
        ...

    def stage_kept(self, number: int, name: str, total_stages: int, rows: int, unit: str = "") -> None:
        """An earlier session finished the stage, and it is used as it is; see `stage_finished` for `unit`."""
        ...


class Silent:
    """A display that shows nothing."""

    def stage_started(self, number: int, name: str, total_stages: int) -> None:
        """See `Display`."""

    def progress(self, at: Progress) -> None:
        """See `Display`."""

    def stage_finished(self, name: str, rows: int, outcomes: Mapping[str, int], seconds: float, unit: str = "") -> None:
        """See `Display`."""

    def remark(self, line: str) -> None:
        """See `Display`."""

    def stage_kept(self, number: int, name: str, total_stages: int, rows: int, unit: str = "") -> None:
        """See `Display`."""
