"""Whether an error says that memory ran out: of a GPU, of this computer, or of Python.

Libraries tell it in several ways and only some by type. What helps depends on what was being done, so the remedy is
written where the error is met.
"""

from __future__ import annotations

_SAID = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` tells of memory that could not be had."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(each.lower() in str(error).lower() for each in _SAID)
