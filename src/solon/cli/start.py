"""The entry point: Ctrl-C ends the program with one line, even while modules are loading.

Loading a command's modules takes seconds. A library that is half loaded may swallow a KeyboardInterrupt or turn it into
another error, and then the program continues or shows a traceback. There is nothing to save yet, so the program exits
at once. This module imports only what that needs.
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
    """Run the command line; exits with its code, or with 130 and one line after Ctrl-C."""
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        if _is_loading(frame):
            os.write(2, b"Stopped\n")
            os._exit(INTERRUPTED)
        raise KeyboardInterrupt

    # Another handler stays, and so does an ignored interrupt (a job in the background).
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        from solon.cli.main import main as run

        run()
    except SystemExit:
        raise
    except BaseException:
        if not interrupted or "--debug" in sys.argv:
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
