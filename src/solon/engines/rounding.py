"""Which engine settings can change a stage's rows, and which change only rounding.

The key of a stage and of a cached answer contains all engine settings except those in `ROUNDING`. A new setting is
therefore part of the key until a test shows that it changes only rounding. The settings in `ROUNDING`, the machine and
the library versions change the order in which numbers are summed, and so the last bits of a probability or a weight.
Rows made with different ones may be mixed; each manifest records them, and the console shows them when finished rows
are reused.

`CODE` is the version of how Solon asks models. Raise it with every change to what the same model answers to the same
question: tokens, rendering, sampling, the reading of letters.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from solon.config.recipe import EngineSettings
from solon.engines.processor import processor_field
from solon.runs.processes import SINGLE_PROCESS, Processes

CODE = 1
ROUNDING = frozenset({"batch_size", "memory_gib", "threads", "device_map", "vllm"})
"""Settings that change only rounding: how many rows pass at once, and on how many threads or devices."""
LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "peft", "accelerate", "numpy", "pyarrow")


def keyed(settings: EngineSettings) -> dict[str, object]:
    """The engine's settings that belong to a key: all except those in `ROUNDING`, and the dtype of the weights.

    Of the settings for servers only those count that change what a model is asked.
    """
    import torch

    given = settings.model_dump(mode="json", exclude={*ROUNDING, "server"})
    if settings.server.keyed:
        given["server"] = settings.server.keyed
    dtype = given.pop("dtype", "auto")
    # The machine decides what `auto` means, and bfloat16 changes more than the last bits.
    auto = "as stored" if torch.cuda.is_available() else "float32"
    return {**given, "numbers": auto if dtype == "auto" else dtype}


def made_with(settings: EngineSettings, processes: Processes = SINGLE_PROCESS) -> dict[str, object]:
    """What changes only rounding, as it is now: settings, processor or GPU, threads, processes, libraries."""
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


def rounding_summary(sessions: Sequence[Mapping[str, object]], now: Mapping[str, object]) -> str | None:
    """How the settings of finished rows differ from those of now, for the console; None when they do not.

    `sessions` are those that made the rows; empty when they were not recorded.
    """
    others = {
        f"{name} {session.get(name)} (now {now.get(name)})"
        for session in sessions
        for name in (*now, *session)
        if session.get(name) != now.get(name)
    }
    if not others:
        return None
    return f"Reusing rows made with {', '.join(sorted(others))}; rows made now could differ by rounding"


def _processor() -> str:
    return next(iter(processor_field("model name")), "") or platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
