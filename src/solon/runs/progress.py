"""The display of a run's progress.

The pipeline calls a `Display`, which need not be a terminal: the command line has displays for terminals and for plain
logs, and a program passes `Silent` or its own. Calls come in order, from one thread: a stage starts, reports progress
any number of times, and finishes. A stage that an earlier session finished is only mentioned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Display(Protocol):
    """A front end for the progress of a run."""

    def stage_started(self, number: int, name: str, total_stages: int) -> None:
        """Stage `number` of `total_stages` begins, or continues the work of an earlier session."""
        ...

    def progress(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total` items of the current stage (or of its current phase, which `note` names) are finished."""
        ...

    def stage_finished(self, name: str, rows: int, outcomes: Mapping[str, int], seconds: float) -> None:
        """The current stage is published; `seconds` counts the work of all sessions."""
        ...

    def remark(self, line: str) -> None:
        """A message about the stage that has just finished."""
        ...

    def stage_kept(self, number: int, name: str, total_stages: int, rows: int) -> None:
        """An earlier session finished the stage, and it is used as it is."""
        ...


class Silent:
    """A display that shows nothing."""

    def stage_started(self, number: int, name: str, total_stages: int) -> None:
        """See `Display`."""

    def progress(self, done: int, total: int, note: str = "") -> None:
        """See `Display`."""

    def stage_finished(self, name: str, rows: int, outcomes: Mapping[str, int], seconds: float) -> None:
        """See `Display`."""

    def remark(self, line: str) -> None:
        """See `Display`."""

    def stage_kept(self, number: int, name: str, total_stages: int, rows: int) -> None:
        """See `Display`."""
