"""A contestant's process: it is started, asked for repeats one at a time, and stopped.

What it prints to standard error is kept and shown when it fails. A contestant that ends, that says what the protocol
does not allow, or that says nothing for too long, is an error which names it and what to do.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TypeVar

from benchmarks.peers.protocol import RUN, STOP, Answer, Malformed, Ready, answer_of, ready_of
from solon.errors import EngineError, InputError

PATIENCE = 3600.0
"""Seconds in which a contestant has to say something."""
SHOWN = 6
"""Lines of standard error in an error."""
T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """How a contestant is started: a module that a Python runs in a folder."""

    title: str
    python: Path
    module: str
    arguments: Sequence[str]
    folder: Path
    environment: Mapping[str, str]

    @property
    def words(self) -> list[str]:
        """The command line."""
        return [str(self.python), "-m", self.module, *self.arguments]


class Contestant:
    """A running contestant; leave the `with` block to stop it."""

    def __init__(self, call: Call, patience: float = PATIENCE) -> None:
        """Raises InputError, naming what builds it, when its Python is missing."""
        if not call.python.is_file():
            name = call.python.parent.parent.name
            raise InputError(
                f"{call.title} has no environment", place=str(call.python), remedy=f"Type: make peers PEERS={name}"
            )
        self.call = call
        self._patience = patience
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed on leaving the `with` block
        self._process = subprocess.Popen(
            call.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=call.folder,
            env=dict(call.environment),
        )

    def __enter__(self) -> Contestant:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell(STOP)
        with suppress(OSError):  # a pipe that nobody reads any more
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def ready(self) -> Ready:
        """Wait until it has loaded its model; raises EngineError when it does not."""
        return self._said(ready_of)

    def repeat(self) -> Answer:
        """Have it do the work once; raises EngineError when it does not."""
        self._tell(RUN)
        return self._said(answer_of)

    def _tell(self, command: str) -> None:
        with suppress(OSError, ValueError):  # it has ended; the next reading says so
            assert self._process.stdin is not None
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()

    def _said(self, read: Callable[[str], T]) -> T:
        assert self._process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(self._patience, give_up)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if late.is_set():
            raise self._failed(f"said nothing for {self._patience:.0f} seconds")
        if not line:
            raise self._failed(f"ended with status {self._process.wait()}")
        try:
            return read(line)
        except Malformed:
            raise self._failed(f"said {line.strip()[:80]!r}, which is not an answer") from None

    def _failed(self, what: str) -> EngineError:
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        last = "\n".join(lines[-SHOWN:])
        return EngineError(f"{self.call.title} {what}{':' if last else ''}\n{last}".rstrip(), place=self.call.module)
