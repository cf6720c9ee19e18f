"""What can change a stage's rows, and what moves them by rounding alone.

All settings of the engine belong to the key under which a stage is made and an answer is kept, but for those that
`ROUNDING` names; a setting that is added later is thereby keyed until somebody shows that it moves rows by rounding
alone. What `ROUNDING` names, and the machine and libraries that computed, change the order in which numbers are summed
and so the last bits of a probability or a weight. Rows made one way may be used beside rows made another; which way
they were made is noted in each manifest, and told when finished rows are taken over.

`CODE` is the version of how models are asked. Whoever changes what the same model answers to the same question raises
it: tokens, rendering, drawing, the reading of letters.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from solon.config.recipe import EngineSettings
from solon.runs.processes import SINGLE_PROCESS, Processes

CODE = 1
ROUNDING = frozenset({"batch_size", "memory_gib", "threads"})
"""The engine's settings that move rows by rounding alone: how many rows pass at once, and on how many threads."""
LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "peft", "accelerate", "numpy", "pyarrow")


def keyed(settings: EngineSettings) -> dict[str, object]:
    """The engine's settings that belong to a key: all but those in `ROUNDING`, with the numbers computed in."""
    import torch

    given = settings.model_dump(mode="json", exclude=set(ROUNDING))
    dtype = given.pop("dtype", "auto")
    # What `auto` means hangs on the machine, and bfloat16 is more than another rounding of the last bits.
    auto = "as stored" if torch.cuda.is_available() else "float32"
    return {**given, "numbers": auto if dtype == "auto" else dtype}


def made_with(settings: EngineSettings, processes: Processes = SINGLE_PROCESS) -> dict[str, object]:
    """What moves rows by rounding alone, as it is now: settings, processor or GPU, threads, processes, libraries."""
    import torch

    chosen = settings.model_dump(mode="json", include=set(ROUNDING - {"threads"}))
    return {
        **{f"engine.{name}": value for name, value in chosen.items()},
        "processor": torch.cuda.get_device_name() if torch.cuda.is_available() else _processor(),
        "threads": settings.threads or torch.get_num_threads(),
        "processes": processes.count,
        "sharding": processes.sharding.value if processes.count > 1 else None,
        **{name: found for name in LIBRARIES if (found := _version(name)) is not None},
    }


def rounding_told(sessions: Sequence[Mapping[str, object]], now: Mapping[str, object]) -> str | None:
    """In words, how finished rows were made otherwise than they would be now; None when they were not.

    `sessions` are those that worked on them; none when it was not noted.
    """
    others = {
        f"{name} {session.get(name)} (now {now.get(name)})"
        for session in sessions
        for name in (*now, *session)
        if session.get(name) != now.get(name)
    }
    if not others:
        return None
    return (
        f"Rows are taken over that were made with {', '.join(sorted(others))}; made now they could differ by rounding"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
