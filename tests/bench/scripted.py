"""Contestants that say what a test wants: small programs that speak the protocol, or do not."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.bench.contestants import Call
from benchmarks.bench.limits import Demand
from benchmarks.bench.measured import Measure
from benchmarks.bench.sizes import Setting
from benchmarks.bench.works import Peer, Prepared, Work
from benchmarks.peers.tasks import CourseTask

READY = '{"versions": {"it": "1"}}'
ANSWER = '{"seconds": 2.0, "amount": 10, "peak_mb": 7.5, "values": [1.0]}'


def program(folder: Path, name: str, *lines: str, then: str = "") -> str:
    """A module that says one line at its start, and one for each command; `then` is code that runs after the last."""
    source = [
        "import sys, time",
        f"for line in {list(lines)!r}:",
        "    print(line, flush=True)",
        "    if sys.stdin.readline().strip() != 'run': sys.exit(0)",
        then,
    ]
    folder.joinpath(f"{name}.py").write_text("\n".join(source))
    return name


def call(folder: Path, module: str, python: Path = Path(sys.executable)) -> Call:
    return Call("the peer", python, module, [], folder, {})


def work(peers: tuple[Peer, ...], unit: str = "things/s", tolerance: float | None = None) -> Work:
    """A work whose contestants are modules of the tests' own."""

    def prepare(setting: Setting, folder: Path) -> Prepared:
        return Prepared(CourseTask(3, setting.threads), Demand(1e9))

    return Work("toy", "A toy", unit, "solon", "way", "float32", peers, prepare, 1, Measure.RATE, tolerance)
