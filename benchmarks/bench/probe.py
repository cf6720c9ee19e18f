"""Measures what this machine does at best: large matrix products in both dtypes, and reading memory.

It runs in a process of its own, by `machine_of`, and prints one JSON object. The best of several tries counts, since a
limit is what is reached when nothing disturbs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.bench.limits import BYTES, Machine
from benchmarks.bench.sizes import Setting
from solon.errors import StageError

SIZE, QUICK_SIZE, TRIES, READ_BYTES = 2048, 256, 8, 1 << 28


def machine_of(command: list[str], environment: Mapping[str, str], setting: Setting) -> dict[str, Machine]:
    """What the machine does by dtype; raises StageError when it cannot be measured."""
    words = [*command, str(setting.threads), str(setting.pick(SIZE, QUICK_SIZE))]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise StageError(f"this machine's limits could not be measured: {last}", remedy="Type: make venv")
    found = json.loads(done.stdout)
    return {dtype: Machine(found[dtype], found["bandwidth"]) for dtype in BYTES}


def summary(machine: Mapping[str, Machine]) -> str:
    """What was measured, in words."""
    rates = [f"{each.operations / 1e9:,.0f} GFLOP/s in {dtype}" for dtype, each in machine.items()]
    return ", ".join([*rates, f"{next(iter(machine.values())).bandwidth / 1e9:.1f} GB/s from memory"])


def best(work: Callable[[], object], tries: int) -> float:
    """The shortest time."""
    work()
    times = []
    for _ in range(tries):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def product_seconds(size: int, dtype: str) -> float:
    """The shortest time of a product, by torch's choice of a library and by oneDNN: either may be faster."""
    import torch
    from torch.utils import mkldnn

    library: Any = mkldnn  # torch gives it no types
    given = torch.randn(size, size).to(getattr(torch, dtype))
    plain = torch.nn.Linear(size, size, bias=False).to(given.dtype).eval()
    with torch.inference_mode():
        seconds = best(lambda: plain(given), TRIES)
        if not torch._C._has_mkldnn:
            return seconds
        packed = library.to_mkldnn(plain, given.dtype)
        return min(seconds, best(lambda: packed(given), TRIES))


def main() -> None:
    """Arguments: the number of threads, and the size of the matrices."""
    import torch

    torch.set_num_threads(int(sys.argv[1]))
    size = int(sys.argv[2])
    found: dict[str, float] = {}
    for dtype in BYTES:
        found[dtype] = 2 * size**3 / product_seconds(size, dtype)
    block = torch.ones(READ_BYTES // 4)
    rows, ones = block.view(1024, -1), torch.ones(len(block) // 1024)
    found["bandwidth"] = READ_BYTES / min(best(block.sum, TRIES), best(lambda: rows @ ones, TRIES))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
