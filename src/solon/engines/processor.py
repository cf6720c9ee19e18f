"""What Linux says about the processor; nothing elsewhere."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def processor_field(name: str, file: Path = CPUINFO) -> list[str]:
    """The values of a field such as `model name`, one for each core; empty where the system does not tell."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name]
