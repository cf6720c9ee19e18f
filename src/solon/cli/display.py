"""Shows the progress of a run: live on a terminal, in plain lines in logs and pipes.

The displays implement `solon.runs.progress.Display`. They write to standard error, because results go to standard
output.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from solon.cli.terminal import plain
from solon.runs.progress import Display, Progress, Silent

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class ManagedDisplay(Display, Protocol):
    """A display that opens and closes; closing it leaves the terminal as it was."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def display_for(*, quiet: bool = False) -> ManagedDisplay:
    """The display for this terminal: nothing when quiet, live on a terminal, else plain lines."""
    if quiet:
        return QuietDisplay()
    return RichDisplay() if sys.stderr.isatty() else PlainDisplay()


def amount(name: str, rows: int, unit: str = "") -> str:
    """The size of a finished stage, `300 rows` or `36 steps`; an ablation puts `VARIANT: ` before the stage's name."""
    from solon.stages.plan import amount_of, unit_of

    return amount_of(rows, unit or unit_of(name.rpartition(": ")[2]))


def summary(name: str, rows: int, outcomes: Mapping[str, int], seconds: float, unit: str = "") -> str:
    """A finished stage in one line: `300 rows in 12 s: ok 297, truncated 3`."""
    counts = ", ".join(f"{outcome} {count}" for outcome, count in outcomes.items())
    return f"{amount(name, rows, unit)} in {clock(seconds)}{f': {counts}' if counts else ''}"


def position(at: Progress) -> str:
    """How far a stage is: `30/120 critiques of step 1/4, 3.2/s, 0:28 left`."""
    counted = amount_done(at)
    if at.done >= at.total:
        return counted
    left = at.seconds_left
    return f"{counted}, time left unknown" if left is None else f"{counted}, {pace(at.rate or 0)}, {clock(left)} left"


def amount_done(at: Progress) -> str:
    """What is done, of how many: `30/120 critiques of step 1/4`."""
    return f"{at.done:,}/{at.total:,} {at.unit}"


def pace(rate: float) -> str:
    """A rate as a person reads it: `3.2/s`, or `4.1 s each` when one takes longer than a second."""
    return f"{rate:,.1f}/s" if rate >= 1 else f"{clock(1 / rate)} each"


def clock(seconds: float) -> str:
    """A time as `4.2 s`, `3:20` or `2:05:00`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class QuietDisplay(Silent):
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class PlainDisplay(QuietDisplay):
    """Prints a line when a stage starts and ends, and from time to time in between."""

    def __init__(self, every: float = 15.0, now: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._now = now
        self._printed_at = 0.0

    def stage_started(self, number: int, name: str, total_stages: int) -> None:
        """See `Display`."""
        self._printed_at = self._now()
        self._line(f"[{number}/{total_stages}] {name}")

    def progress(self, at: Progress) -> None:
        """See `Display`; at most one line in `every` seconds."""
        if self._now() - self._printed_at >= self._every:
            self._printed_at = self._now()
            self._line(f"      {'; '.join(part for part in (position(at), at.note) if part)}")

    def stage_finished(self, name: str, rows: int, outcomes: Mapping[str, int], seconds: float, unit: str = "") -> None:
        """See `Display`."""
        self._line(f"      {name}: {summary(name, rows, outcomes, seconds, unit)}")

    def remark(self, line: str) -> None:
        """See `Display`."""
        self._line(f"      {plain(line, lines=False)}")

    def stage_kept(self, number: int, name: str, total_stages: int, rows: int, unit: str = "") -> None:
        """See `Display`."""
        self._line(f"[{number}/{total_stages}] {name}: finished before, {amount(name, rows, unit)}")

    def _line(self, text: str) -> None:
        print(plain(text).rstrip(), file=sys.stderr, flush=True)


class RichDisplay:
    """Shows a bar for the current stage, and above it a line for each finished stage."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        # `markup=False`: a note or a name may contain square brackets.
        self._progress: Bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[position]}", markup=False),
            TextColumn("{task.fields[note]}", markup=False, style="dim"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: TaskID | None = None
        self._heading = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def stage_started(self, number: int, name: str, total_stages: int) -> None:
        """See `Display`."""
        self._drop()
        self._heading = f"{number}/{total_stages}  {plain(name, lines=False)}"
        self._task = self._progress.add_task(self._heading.ljust(24), total=None, position="", note="")

    def progress(self, at: Progress) -> None:
        """See `Display`."""
        if self._task is not None:
            where, note = plain(position(at), lines=False), plain(at.note, lines=False)
            self._progress.update(self._task, completed=at.done, total=at.total, position=where, note=note)

    def stage_finished(self, name: str, rows: int, outcomes: Mapping[str, int], seconds: float, unit: str = "") -> None:
        """See `Display`."""
        self._drop()
        self._print(f"{self._heading.ljust(24)} {summary(name, rows, outcomes, seconds, unit)}")

    def remark(self, line: str) -> None:
        """See `Display`."""
        self._print(f"     {plain(line, lines=False)}")

    def stage_kept(self, number: int, name: str, total_stages: int, rows: int, unit: str = "") -> None:
        """See `Display`."""
        heading = f"{number}/{total_stages}  {plain(name, lines=False)}"
        self._print(f"{heading.ljust(24)} {amount(name, rows, unit)}, finished before")

    def _drop(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None

    def _print(self, line: str) -> None:
        from rich.text import Text

        self._progress.console.print(Text(plain(line)))
