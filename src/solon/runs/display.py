"""How a run tells a person what it is doing.

The pipeline calls a `Display` and knows nothing of terminals; the command line brings front ends for terminals and for
plain logs, and a program passes `Silent` or its own. Calls come in order, from one thread: a stage starts, its progress
is told any number of times, it finishes; a stage that an earlier session finished is only mentioned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Display(Protocol):
    """A front end for the progress of a run."""

    def stage_started(self, number: int, name: str, total_stages: int) -> None:
        """Stage `number` of `total_stages` begins, or goes on where an earlier session left it."""
        ...

    def progress(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total` pieces of the present stage (or of its present phase, which `note` names) are there."""
        ...

    def stage_finished(self, name: str, rows: int, outcomes: Mapping[str, int], seconds: float) -> None:
        """The present stage is published; `seconds` counts the work of all sessions."""
        ...

    def remark(self, line: str) -> None:
        """Something to know of the stage that has just finished, in words."""
        ...

    def stage_kept(self, number: int, name: str, total_stages: int, rows: int) -> None:
        """The stage was finished by an earlier session and is used as it is."""
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
