"""How many rows may be in flight: bounded by a number of rows and by memory.

A row's memory is nearly all keys and values: the columns of its cache times the bytes of one column, which are measured
on one token and therefore right for every kind of attention. A shared prefix is copied to each row, so long worked
examples count in full. Splitting rows changes only rounding. The default is a power of two, so that it rarely differs
from one session to the next.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from solon.config.recipe import EngineSettings
from solon.engines.local.causal_model import CausalModel
from solon.model_folders.system_memory import system_memory

GIB = 1 << 30
_SHARE = 0.5
"""The default share of free memory: the pass itself needs memory too, and other programs grow."""
_UNKNOWN = 8 * GIB
"""Assumed to be free where the system does not report it."""
_MOST = 1 << 20
"""More GiB than any machine has."""


@dataclass(frozen=True, slots=True)
class RowBudget:
    """The bounds on rows in flight; `column` and `position` are the bytes of a column and of a position's logits."""

    rows: int
    bytes: int
    column: int
    position: int

    @classmethod
    def of(cls, settings: EngineSettings, model: CausalModel) -> RowBudget:
        """The bounds from the settings, or from the memory that is free now."""
        given = settings.memory_gib
        size = default_memory(free_memory(model.device)) if given is None else int(min(given, _MOST) * GIB)
        return cls(settings.batch_size, max(1, size), model.column_bytes, model.position_bytes)

    def most(self, columns: int, positions: int = 1) -> int:
        """How many rows of so many columns fit, each with the logits of some positions; at least one."""
        return max(1, min(self.rows, self.bytes // (columns * self.column + positions * self.position)))

    def summary(self, window: int) -> str | None:
        """One line for the console where memory may limit the rows, else None."""
        rows = self.bytes // (window * self.column + self.position)
        if rows >= self.rows:
            return None
        return (
            f"prompts in one pass get {self.bytes / GIB:.3g} GiB of memory (engine.memory_gib): {max(1, rows)} of them "
            f"at the whole window of {window:,} tokens, {self.rows} at most (engine.batch_size)"
        )


def default_memory(free: int | None) -> int:
    """Bytes for rows in flight: the greatest power of two within half of the free ones, at least 64 MiB."""
    half = int((_UNKNOWN if free is None else free) * _SHARE)
    return 1 << max(26, half.bit_length() - 1)


def free_memory(device: torch.device) -> int | None:
    """Free bytes on the model's device; None where the system does not report them."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    memory = system_memory()
    if memory is None:
        return None
    count = os.environ.get("LOCAL_WORLD_SIZE", "")  # processes that a launcher started on this machine
    return memory.free // max(1, int(count)) if count.isdecimal() else memory.free
