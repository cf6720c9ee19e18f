"""What the tests of several processes say to each other: `python -m tests.training.exchange OUT WHAT`, launched."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from solon.errors import DivergedError, StageError
from solon.runs.processes import Processes
from solon.training.distributed.launched import joined
from solon.training.learner import Learner
from solon.training.loop import accumulate


@dataclass(frozen=True)
class Point:
    """A row; its loss is its value times a weight."""

    row_id: str
    length: int
    value: float


@dataclass(frozen=True)
class Weighed:
    """The mean of weight x value; `unused` is a parameter of which no process has a gradient."""

    weight: nn.Parameter
    width: int = 1
    pass_cost: int = 0

    def size(self, rows: Sequence[Point]) -> float:
        return float(len(rows))

    def loss(self, rows: Sequence[Point]) -> tuple[Tensor, Mapping[str, float]]:
        return self.weight.sum() * sum(row.value for row in rows), {"points": len(rows)}


def exchange(processes: Processes) -> dict[str, Any]:
    """One of everything that processes can do together."""
    items = [["é", 1], ["\udcff", 2.5], [None, 3], ["d", 0.1], ["e", -0.0]]
    own = torch.full((2, 3), float(processes.rank + 1))
    whole = torch.tensor([processes.rank])
    processes.add([own, whole])
    weight, unused = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))
    learner = Learner(
        {"weight": weight, "unused": unused}, clip=100.0, epsilon=1e-8, weight_decay=0.1, processes=processes
    )
    rows = [Point(f"p{n}", 10 - n, float(n)) for n in range(5)]
    totals, size = accumulate(learner, Weighed(weight), rows, 10, "here")
    gradient = weight.grad.tolist() if weight.grad is not None else None
    norm = learner.step(0.5, "here", [])
    return {
        "rank": processes.rank,
        "count": processes.count,
        "share": list(processes.share(range(5))),
        "gathered": processes.gather(processes.share(items)),
        "unequal": processes.gather(["x"] if processes.rank == 1 else []),
        "broadcast": processes.broadcast({"a": 1} if processes.rank == 0 else None),
        "any": [processes.any(processes.rank == 1), processes.any(False)],
        "own": own.tolist(),
        "sum": whole.tolist(),
        "loss": totals.loss,
        "points": totals.counts["points"],
        "size": size,
        "gradient": gradient,
        "norm": norm,
        "weight": weight.tolist(),
        "unused": unused.tolist(),
        "diverged": diverged(processes),
    }


def diverged(processes: Processes) -> list[Any]:
    """A loss that is not finite in one process only."""
    weight = nn.Parameter(torch.ones(1))
    learner = Learner({"weight": weight}, clip=1.0, epsilon=1e-8, processes=processes)
    rows = [Point("good", 9, 1.0), Point("bad", 8, float("inf")), Point("fine", 7, 1.0)]
    try:
        accumulate(learner, Weighed(weight), rows, 10, "step 1")
    except DivergedError as error:
        return [str(error), weight.grad is None]
    return []


if __name__ == "__main__":
    out, what = Path(sys.argv[1]), sys.argv[2]
    with joined() as these:
        if what == "exchange":
            (out / f"{these.rank}.json").write_text(json.dumps(exchange(these)))
        elif these.rank == these.count - 1:
            these.any(False)
            if what == "fail":
                raise StageError("the cause", place="a place", remedy="A remedy")
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            start = time.monotonic()
            these.any(False)
            try:
                these.broadcast("forever")
                these.any(True)
            finally:
                (out / f"{these.rank}.seconds").write_text(str(time.monotonic() - start))
