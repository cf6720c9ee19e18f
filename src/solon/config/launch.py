"""Whether a launcher (accelerate, torchrun, mpirun) started this process among others, as its environment tells.

Torch-free, so that the command line knows at once which process speaks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

_RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
_COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say which process this is, of how many; torchrun's and accelerate's first, then those of MPI."""


def launched(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Which process this is, from 0, and of how many, as a launcher told it; (0, 1) without one."""

    def told(names: Sequence[str], default: int) -> int:
        found = [environment[name] for name in names if environment.get(name, "").isdigit()]
        return int(found[0]) if found else default

    count = told(_COUNTS, 1)
    return (told(_RANKS, 0), count) if count > 1 else (0, 1)
