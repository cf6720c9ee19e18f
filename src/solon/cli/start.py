"""Where the program begins: an interrupt ends it in one line from its first moment on.

Loading what a command needs takes seconds, and Ctrl-C may fall into any of them. A KeyboardInterrupt raised there may
be swallowed by a library that is half loaded, or come out as an error of its own, so that the program would go on or
show a traceback. Nothing is at work yet that could be saved, so the program ends there and then. This module loads
nothing but what it needs to say so.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""The exit code after Ctrl-C."""


def main() -> NoReturn:
    """Run the command line; exits with its code, or with 130 and one line when it was interrupted."""
    asked = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        if _is_loading(frame):
            os.write(2, b"Stopped\n")
            os._exit(INTERRUPTED)
        raise KeyboardInterrupt

    # A handler that was set, or an interrupt that is ignored (a job in the background), is left as it is.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        from solon.cli.main import main as run

        run()
    except SystemExit:
        raise
    except BaseException:
        if not asked or "--debug" in sys.argv:
            raise
        print("Stopped", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _is_loading(frame: FrameType | None) -> bool:
    """Whether a module is being loaded somewhere above `frame`."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


if __name__ == "__main__":
    main()
