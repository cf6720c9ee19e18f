"""The files that this process has open, to see that none stays open."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def opened_in(folder: Path) -> list[str]:
    """The names of the files in a folder, at any depth, that are open."""
    held = set()
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # the descriptor of the listing itself is closed
            about = os.fstat(int(name))
            held.add((about.st_dev, about.st_ino))
    files = [each for each in folder.rglob("*") if each.is_file()]
    return [each.name for each in files if (each.stat().st_dev, each.stat().st_ino) in held]
