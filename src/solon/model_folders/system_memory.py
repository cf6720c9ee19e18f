"""The memory that this process may use, and whether an error means that it ran out.

The size is the machine's, or a container's smaller limit. Libraries report a lack of memory in several ways, only some
of them by type; the module that catches the error writes the remedy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_UNLIMITED = 1 << 60
"""A control group without a limit reports a number beyond this."""
_SAID = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory", "ALLOC_FAILED")


@dataclass(frozen=True, slots=True)
class SystemMemory:
    """Bytes in total, and bytes that are free now."""

    total: int
    free: int


def system_memory(root: Path = Path("/")) -> SystemMemory | None:
    """The memory of the machine or of the process's container; None where the system does not report it.

    Where free memory is unknown, half of the total counts as free.
    """
    fields = _fields(root / "proc" / "meminfo")
    if "MemTotal:" in fields and "MemAvailable:" in fields:
        total, free = fields["MemTotal:"] * 1024, fields["MemAvailable:"] * 1024
    else:
        try:  # macOS reports only the size
            total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (ValueError, OSError, AttributeError):
            return None
        free = total // 2
    for limit, left in _groups(root):
        total, free = min(total, limit), min(free, left)
    return SystemMemory(total, free)


def _groups(root: Path) -> Iterator[tuple[int, int]]:
    """Limit and remaining bytes of this process's control groups and their parents, in version 1 and 2."""
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        number, controllers, own = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = base / own.strip("/")
        # In a container the path may be the host's; the group at the base is then its own.
        for group in (folder, *folder.parents):
            limit, used = (_text(group / name).strip() for name in names[:2])
            if limit.isdecimal() and used.isdecimal() and int(limit) < _UNLIMITED:
                cached = _fields(group / "memory.stat").get(names[2], 0)  # the system frees it when needed
                yield int(limit), max(0, int(limit) - int(used) + cached)
            if group == base:
                break


def _fields(file: Path) -> dict[str, int]:
    words = [line.split() for line in _text(file).splitlines()]
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdecimal()}


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` means that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(each.lower() in str(error).lower() for each in _SAID)
