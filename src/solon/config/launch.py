"""Finds out from the environment whether a launcher (accelerate, torchrun, mpirun) started this process.

This module does not import torch, so that the command line knows at once which process prints.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

_RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
_COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""The environment variables of launchers: torchrun and accelerate first, then MPI."""


def launched(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """The rank of this process, from 0, and the number of processes; (0, 1) without a launcher."""

    def number(names: Sequence[str], default: int) -> int:
        return next((int(environment[name]) for name in names if environment.get(name, "").isdigit()), default)

    count = number(_COUNTS, 1)
    return (number(_RANKS, 0), count) if count > 1 else (0, 1)
