"""Writes docs/performance.md from the results: what was measured, who wins, and why where a peer does.

The reasons are written by hand, in results/why.yaml beside the results, one for a comparison. They are shown only
where Solon is behind the peer, or behind the ratio that the project asks for.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import yaml

from benchmarks.bench.measured import Measure
from benchmarks.bench.results import FOLDER, Result, number
from solon.errors import InputError

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
REASONS = FOLDER / "why.yaml"
NO_REASON = "The reason is not known yet."
HEAD = """# Performance

<!-- Made by `python -m benchmarks.bench --page` from benchmarks/results: edit benchmarks/bench/page.py instead. -->

Solon beside other programs on the same weights, prompts, lengths, threads and dtype. `make bench` measures all of it
anew and writes this page; `make bench WORK='labels-*'` measures a part. [How it is measured](#how-it-is-measured)
stands at the end.
"""
NONE = """
Nothing has been measured yet. Type `make bench` on an otherwise idle machine. `python -m benchmarks.bench --list` says
about how long each work takes.
"""
METHOD = """
## How it is measured

- Each contestant is a process of its own, in an environment of its own (`make peers`, exact versions in
  [benchmarks/peers](../benchmarks/peers/hf.txt)). It loads its model once. One repeat warms up; then the contestants
  take turns.
- A ratio is Solon's median over the peer's, or the other way round where less is better: above 1 Solon is ahead. The
  interval behind it is a 95 % bootstrap over pairs of repeats that were taken one after the other.
- Peers get prompts as token ids; Solon begins with conversations and tokenizes them within its time. Texts have
  planned lengths, since two programs stop at different lengths. A peer that writes fewer tokens, or reads other
  log-odds, is an error and not a figure.
- Nothing that was kept of one repeat helps in the next: caches of prefixes are dropped on all sides.
- "Of the limit" is the least time that this machine needs for the work, as a share of Solon's time. It follows from
  the operations that nobody can leave out and the rate of large products, or from the bytes that are read while texts
  are written and the memory's bandwidth, whichever takes longer. Rate and bandwidth are measured at the start. Padding
  and repeated reading are not counted, so a program that does either stays further below the limit.
- Peers have the settings that their documentation recommends for a CPU. `generate` gets all rows in one batch, padded
  on the left. Forward passes compute logits at the last position alone. vLLM compiles and caches prefixes. TRL takes
  passes of eight rows, its default, pads on the right and keeps all activations; it packs rows on GPUs alone.
- Labels are asked in batches of 16 by all but the plain forward pass, which takes 4; texts all at once. vLLM's memory
  holds the 4 GiB that its cache reserves.
- OpenMP threads spin while they wait (the default) in all processes, whatever `make` chooses for other commands.
- A plain forward pass takes as long for each question as for any other. It answers 8 of 48, and rates are compared.
"""


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def read_reasons(path: Path) -> dict[str, str]:
    """The reasons by the names of comparisons; raises InputError for a file that holds anything else."""
    given = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not isinstance(given or {}, dict) or not all(isinstance(each, str) for each in (given or {}).values()):
        raise InputError("reasons are a text for each comparison", place=str(path))
    return dict(given or {})


def page_of(results: Sequence[Result], reasons: Mapping[str, str]) -> str:
    """The whole page."""
    if not results:
        return HEAD + NONE + METHOD
    parts = [HEAD, _standing(results)]
    for name, group in groupby(results, key=lambda each: each.work):
        parts.append(_section(name, list(group), reasons))
    return "\n".join(parts) + METHOD


def _standing(results: Sequence[Result]) -> str:
    """How many comparisons Solon wins and loses, how many bars are reached, and which targets."""
    beside = [each for each in results if not each.is_target]
    wins, losses = (sum(getattr(each, name) for each in beside) for name in ("wins", "loses"))
    undecided = len(beside) - wins - losses
    even = f"in {undecided} the interval contains 1" if undecided else "no interval contains 1"
    asked = [each for each in beside if each.bar is not None]
    missed = [each for each in asked if each.ratio < (each.bar or 0)]
    lines = [
        f"Of {len(beside)} comparisons with programs Solon wins {wins} and loses {losses}; {even}. "
        f"The project asks for a ratio in {len(asked)} of them, and {len(asked) - len(missed)} reach it."
    ]
    for each in results:
        if each.is_target:
            reached = "reached" if each.ratio >= 1 else "missed"
            lines += ["", f"A target is {reached}: {each.title}, {each.peer_name} (ratio {each.ratio:.2f})."]
    behind = [f"- {each.title}: {each.peer_name} is ahead ({each.ratio:.2f})." for each in beside if each.loses]
    return "\n".join([*lines, *(["", "Where a peer is ahead:", "", *behind] if behind else [])]) + "\n"


def _section(name: str, results: Sequence[Result], reasons: Mapping[str, str]) -> str:
    first = results[0]
    about = "" if first.dtype == "-" else f", {first.dtype}"
    lines = [f"## {first.title}{about}", "", _measured(first), ""]
    lines += ["| beside | Solon | peer | ratio | asked for | | peak memory, MB |", "|---|---|---|---|---|---|---|"]
    lines += [_row(each) for each in results]
    if first.of_limit is not None:
        what = "operations" if first.limit == "operations" else "the memory's bandwidth"
        lines += ["", f"Solon reaches {first.of_limit:.0%} of the limit, which is set by {what}."]
    for each in results:
        if each.falls_short:
            lines += ["", f"**Beside {each.peer_name}:** {reasons.get(each.name, NO_REASON)}"]
    return "\n".join(lines) + "\n"


def _measured(first: Result) -> str:
    less = {Measure.RATE: "", Measure.SECONDS: "; less is better", Measure.MEMORY: "; less is better"}[first.measure]
    return (
        f"`{first.command}`, {first.date}, {first.cpu}, {first.threads} threads, medians of {first.repeats} repeats, "
        f"in {first.unit}{less}."
    )


def _row(result: Result) -> str:
    who = "**Solon wins**" if result.wins else "**the peer wins**" if result.loses else "undecided"
    if result.is_target:
        who = "target"
    bar = "" if result.bar is None else f"{result.bar:g}, {'reached' if result.ratio >= result.bar else 'missed'}"
    versions = ", ".join(f"{name} {value}" for name, value in result.peer_versions.items() if name != "solon")
    peer = f"{result.peer_name} ({versions})" if versions else result.peer_name
    memory = f"{result.solon_mb:,.0f} / {result.peer_mb:,.0f}" if result.peer_mb else f"{result.solon_mb:,.0f}"
    ratio = f"{result.ratio:.2f} [{result.low:.2f}-{result.high:.2f}]"
    return f"| {peer} | {number(result.solon)} | {number(result.peer)} | {ratio} | {bar} | {who} | {memory} |"
