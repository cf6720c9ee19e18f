"""The first Ctrl-C finishes the current chunk and saves; the second stops at once (promise P9).

The first SIGINT, SIGTERM or SIGHUP (the terminal was closed) only sets a flag, which a stage checks between two chunks
and a trainer between two steps. A second SIGINT or SIGTERM interrupts the program anywhere; the journal makes that as
safe as a power cut. A second SIGHUP does nothing, since shell and kernel both send one.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_log = logging.getLogger(__name__)


class Interrupted(KeyboardInterrupt):
    """The run stopped on request; everything finished is saved. `except Exception` does not catch it."""


@dataclass(slots=True)
class StopRequest:
    """Whether someone asked the run to stop."""

    made: bool = False

    def obey(self) -> None:
        """Raise Interrupted if a stop was requested."""
        if self.made:
            raise Interrupted("stopped as asked; the same command resumes")


@contextmanager
def catching_signals(request: StopRequest) -> Iterator[None]:
    """Make the first SIGINT, SIGTERM or SIGHUP set the request, and the second interrupt at once.

    Only the main thread can catch signals; in another thread this does nothing, and the program's own handlers stay. An
    ignored SIGHUP (`nohup`) stays ignored.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _leave_terminal()
            if request.made:
                return
        if request.made:
            raise Interrupted("stopped at once; the same command resumes")
        request.made = True
        _log.warning("Stopping after the current chunk; repeat to stop now. The same command resumes.")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        caught.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave_terminal() -> None:
    """Send the output of a closed terminal to /dev/null, so that printing progress does not fail."""
    for descriptor in (1, 2):
        try:
            termios.tcgetattr(descriptor)
        except termios.error as error:
            # A terminal that was closed answers so; a file or a pipe has no settings at all (ENOTTY).
            if error.args[0] == errno.EIO:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
