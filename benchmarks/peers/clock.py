"""Measures when a trainer's steps end and its peak memory; it imports nothing of Solon."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Sequence

from transformers import TrainerCallback


class Clock(TrainerCallback):
    """The time at which every step ended, in seconds."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *args: object, **named: object) -> None:
        """See `TrainerCallback`."""
        self.ends.append(time.perf_counter())


def print_result(ends: Sequence[float]) -> None:
    """Print the ends of the steps and the peak resident memory in MB as a line of JSON."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"ends": list(ends), "peak_mb": peak}))
