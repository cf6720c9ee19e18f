"""Gives memory that was freed back to the system.

glibc keeps what a program frees, to use it again. Texts differ in length, so a long run frees and takes blocks of ever
new sizes, and the gaps between those in use grow: training the testbed's small models came to hold 11 GB, nearly all of
it free. Giving the gaps back takes a tenth of a second for a gigabyte.
"""

from __future__ import annotations

import ctypes
import sys


def release_freed_memory() -> None:
    """Return free pages of the heap to the system, where the C library can."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl does not
        if trim is not None:
            trim(0)
