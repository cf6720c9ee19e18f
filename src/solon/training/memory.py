"""Memory that a training loop frees stays with the process, for the next step to use again.

Every step of training asks for the same hundreds of megabytes and frees them. The C library gives freed memory back to
the system, which hands it out again page by page, each cleared first: for tensors of some megabytes that costs more
than the arithmetic on them. With glibc the two thresholds that decide on it can be raised; elsewhere nothing is done.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""The parameters' numbers in malloc.h."""
_KEPT = (1 << 31) - 1
_LARGEST_ON_HEAP = 32 << 20
"""The most that glibc takes: greater blocks go back to the system whatever is asked."""
_DEFAULT = 128 << 10


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory for the length of a block, then give back what can be given back."""
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    library.mallopt(_MMAP_THRESHOLD, _LARGEST_ON_HEAP)
    library.mallopt(_TRIM_THRESHOLD, _KEPT)
    try:
        yield
    finally:
        library.mallopt(_TRIM_THRESHOLD, _DEFAULT)
        library.malloc_trim(0)
