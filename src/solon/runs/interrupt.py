"""Ctrl-C once finishes what is in flight and saves; twice stops now (promise P9).

The first SIGINT or SIGTERM only raises a flag, which a stage looks at between two chunks and a trainer between two
checkpoints. The second one interrupts wherever the program is; the journal makes that as safe as a power cut.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_log = logging.getLogger(__name__)


class Interrupted(KeyboardInterrupt):
    """The run stopped because it was asked to; all that was finished is saved. No `except Exception` swallows it."""


@dataclass(slots=True)
class StopRequest:
    """Whether someone asked the run to stop."""

    made: bool = False

    def obey(self) -> None:
        """Stop here if asked to: raises Interrupted."""
        if self.made:
            raise Interrupted("stopped as asked; the same command resumes")


@contextmanager
def catching_signals(request: StopRequest) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM make the request, and the second interrupt at once.

    Only the main thread can catch signals; elsewhere this does nothing, and the program's own handlers stay.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if request.made:
            raise Interrupted("stopped at once; the same command resumes")
        request.made = True
        _log.warning("Stopping after what is in flight; once more to stop now. The same command resumes.")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
