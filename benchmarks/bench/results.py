"""A result: one comparison of Solon with a peer, as a JSON file of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from benchmarks.bench.measured import Measure
from solon.errors import InputError

FOLDER = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Result:
    """Solon's figure, the peer's, and their ratio, above 1 where Solon wins.

    `bar` is the ratio that the project asks for, where it asks for one. `of_limit` is the share of this machine's limit
    that Solon reaches, and `limit` what the machine is short of (`benchmarks.bench.limits`).
    """

    name: str
    work: str
    title: str
    peer_name: str
    solon: float
    peer: float
    ratio: float
    low: float
    high: float
    of_limit: float | None
    limit: str
    bar: float | None
    unit: str
    measure: Measure
    dtype: str
    threads: int
    repeats: int
    solon_mb: float
    peer_mb: float
    date: str
    cpu: str
    command: str
    versions: dict[str, str]
    peer_versions: dict[str, str]

    @property
    def is_target(self) -> bool:
        """Whether the peer is no program but a figure that the project asks for."""
        return not self.peer_versions

    @property
    def wins(self) -> bool:
        """Whether Solon is ahead, whatever chance does."""
        return self.low > 1

    @property
    def loses(self) -> bool:
        """Whether the peer is."""
        return self.high < 1

    @property
    def falls_short(self) -> bool:
        """Whether Solon is behind the peer, or behind what is asked for."""
        return self.ratio < max(1.0, self.bar or 0.0)

    def write(self, folder: Path) -> Path:
        """Write the result under its name."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        return path


def read_results(folder: Path) -> list[Result]:
    """All results of a folder, by name; raises InputError for a file that holds none."""
    return [_read(path) for path in sorted(folder.glob("*.json"))]


def _read(path: Path) -> Result:
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        given = None
    names = {each.name for each in fields(Result)}
    if not isinstance(given, dict) or given.keys() != names:
        raise InputError("this is no result of a benchmark", place=str(path), remedy="Remove it, and type: make bench")
    return Result(**{**given, "measure": Measure(given["measure"])})


def table(results: Sequence[Result]) -> str:
    """The results as lines for a terminal."""
    head = f"{'comparison':52s} {'Solon':>9s} {'peer':>9s} {'unit':14s} {'ratio':>18s} {'bar':>5s} {'limit':>6s}"
    return "\n".join([head, *map(_line, results)])


def _line(result: Result) -> str:
    ratio = f"{result.ratio:.2f} [{result.low:.2f}-{result.high:.2f}]"
    bar = "" if result.bar is None else f"{result.bar:.1f}"
    of_limit = "" if result.of_limit is None else f"{result.of_limit:.0%}"
    figures = f"{number(result.solon):>9s} {number(result.peer):>9s} {result.unit:14s}"
    return f"{result.name:52s} {figures} {ratio:>18s} {bar:>5s} {of_limit:>6s}"


def number(value: float) -> str:
    """A figure with about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
