"""How a contestant talks with `make bench`: one JSON object a line, over its standard input and output.

A contestant loads what it needs and says that it is ready, with the versions of its packages. For each command `run` it
does the work once and answers with the seconds, how much was done, numbers by which two contestants can be compared,
and its peak memory. It ends at the command `stop`, or when its input ends. Whatever libraries print goes to standard
error. The module imports the standard library alone: peers run where Solon is not installed.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TextIO

RUN, STOP = "run", "stop"


@dataclass(frozen=True)
class Ready:
    """The contestant has loaded its model."""

    versions: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """One repeat of the work.

    `amount` counts what was done in the work's unit. `values` are numbers that depend on the weights and the prompts,
    such as log-odds, where the work has them.
    """

    seconds: float
    amount: float
    peak_mb: float
    values: Sequence[float] = field(default_factory=tuple)


class Malformed(Exception):
    """A line that is not what the protocol allows."""


def line_of(said: Ready | Answer) -> str:
    """What was said, as a line."""
    return json.dumps(asdict(said)) + "\n"


def ready_of(line: str) -> Ready:
    """Read the line of a contestant that is ready; raises `Malformed`."""
    versions = _object(line).get("versions")
    if not isinstance(versions, dict) or not all(isinstance(each, str) for each in versions.values()):
        raise Malformed(line)
    return Ready(versions)


def answer_of(line: str) -> Answer:
    """Read the line of an answer; raises `Malformed`."""
    said = _object(line)
    numbers = [said.get(name) for name in ("seconds", "amount", "peak_mb")]
    values = said.get("values")
    if not isinstance(values, list) or not all(map(_is_number, [*numbers, *values])):
        raise Malformed(line)
    seconds, amount, peak = (float(str(each)) for each in numbers)
    if seconds <= 0 or amount <= 0:
        raise Malformed(line)
    return Answer(seconds, amount, peak, tuple(float(each) for each in values))


def _object(line: str) -> dict[str, object]:
    try:
        said = json.loads(line)
    except ValueError:
        raise Malformed(line) from None
    if not isinstance(said, dict):
        raise Malformed(line)
    return said


def _is_number(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool)


class Floor:
    """A contestant's end of the conversation; make one before anything is imported that prints."""

    def __init__(self) -> None:
        self._out: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._begun = 0.0

    def ready(self, *packages: str) -> None:
        """Say that the model is loaded, and the versions of these packages."""
        self._say(Ready({name: version(name) for name in packages}))

    def asked(self) -> bool:
        """Wait for the next command and start the clock; False when there is nothing more to do."""
        line = sys.stdin.readline()
        self._begun = time.perf_counter()
        return line.strip() == RUN

    def answer(self, amount: float, values: Sequence[float] = (), *, peak_mb: float | None = None) -> None:
        """Stop the clock and say what was done; `peak_mb` is this process's where it is not given."""
        seconds = time.perf_counter() - self._begun
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self._say(Answer(seconds, amount, own if peak_mb is None else peak_mb, tuple(values)))

    def serve(self, work: Callable[[], tuple[float, Sequence[float]]]) -> None:
        """Do the work as often as it is asked for; it returns the amount and the values."""
        while self.asked():
            self.answer(*work())

    def between_steps(self, amount: float) -> None:
        """For a training loop that calls this after each of its steps: answer, then wait for the next command."""
        self.answer(amount)
        if not self.asked():
            raise SystemExit

    def _say(self, said: Ready | Answer) -> None:
        self._out.write(line_of(said))
        self._out.flush()
