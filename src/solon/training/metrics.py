"""Metrics during training: lines of JSON, and the trackers that accelerate supports.

A line is on the disk before the checkpoint of its step. A resumed run removes the lines of later steps and writes them
again, so a file holds every step once, and nothing in it depends on time. Trackers get only numbers, never text.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from solon.config.recipe import Tracker
from solon.errors import RecipeError
from solon.runs.files import reporting_write_errors, write_atomically


class Sink(Protocol):
    """A destination of metrics."""

    def begin(self, step: int) -> None:
        """The run starts, or resumes after `step` steps."""
        ...

    def add(self, row: Mapping[str, Any]) -> None:
        """A row, with its `step` counted from 1."""
        ...

    def finish(self) -> None:
        """The session ends."""
        ...


@dataclass(frozen=True, slots=True)
class JsonLines:
    """A file with a line for each row."""

    path: Path

    def begin(self, step: int) -> None:
        """Remove the rows of later steps and an incomplete line; RunError when the disk refuses."""
        kept = []
        if self.path.is_file():
            with reporting_write_errors(self.path):
                lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
            kept = [line for line in lines[:-1] if _step_of(line) <= step]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, "".join(f"{line}\n" for line in kept))

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row durably; RunError when the disk refuses."""
        line = json.dumps(row, ensure_ascii=False, allow_nan=False)
        # A lone surrogate, which UTF-8 cannot encode, is written as a JSON escape.
        encoded = f"{line}\n".encode(errors="backslashreplace")
        with reporting_write_errors(self.path), self.path.open("ab") as file:
            file.write(encoded)
            file.flush()
            os.fsync(file.fileno())

    def finish(self) -> None:
        """Nothing to do: every line is on the disk."""


def _step_of(line: str) -> float:
    """The step of a line; infinite for one that cannot be read."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


@dataclass(frozen=True, slots=True)
class Tracked:
    """Sends the numbers of each row to a tracker: accelerate's, or another `GeneralTracker`."""

    tracker: Any

    def begin(self, step: int) -> None:
        """Nothing to do: a tracker appends."""

    def add(self, row: Mapping[str, Any]) -> None:
        """Log every number of the row under its name."""
        numbers = {name: value for name, value in row.items() if isinstance(value, int | float) and name != "step"}
        self.tracker.log(numbers, step=row["step"])

    def finish(self) -> None:
        """Flush and close."""
        self.tracker.finish()


@dataclass(frozen=True, slots=True)
class Several:
    """Sends everything to several sinks, in order."""

    sinks: Sequence[Sink] = field(default_factory=tuple)

    def begin(self, step: int) -> None:
        for sink in self.sinks:
            sink.begin(step)

    def add(self, row: Mapping[str, Any]) -> None:
        for sink in self.sinks:
            sink.add(row)

    def finish(self) -> None:
        for sink in self.sinks:
            sink.finish()


def open_trackers(wanted: Sequence[Tracker], run_name: str, folder: Path, settings: Mapping[str, Any]) -> list[Tracked]:
    """The trackers of a recipe, with the plain values among `settings`; files go into `folder`.

    Raises RecipeError as `refuse_missing_trackers` does.
    """
    refuse_missing_trackers(wanted)
    found = []
    for each in wanted:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        kind = LOGGER_TYPE_TO_CLASS[each.value]
        tracker = kind(run_name, logging_dir=str(folder)) if kind.requires_logging_directory else kind(run_name)
        if hasattr(tracker, "start"):
            tracker.start()
        tracker.store_init_configuration({k: v for k, v in settings.items() if isinstance(v, int | float | str)})
        found.append(Tracked(tracker))
    return found


def refuse_missing_trackers(wanted: Sequence[Tracker]) -> None:
    """Raise RecipeError for a tracker whose package is not installed, naming the command that installs it."""
    for each in wanted:
        if not any(importlib.util.find_spec(package) for package in _packages(each)):
            raise RecipeError(
                f"the tracker '{each.value}' is not installed",
                place="rl.trackers",
                remedy=f"Install it with: pip install 'solon[{each.value}]'",
            )


def _packages(tracker: Tracker) -> tuple[str, ...]:
    """Packages for a tracker; any one is enough."""
    return ("tensorboard", "tensorboardX") if tracker is Tracker.TENSORBOARD else (tracker.value,)
