"""Measures works and writes a result for each comparison, then docs/performance.md.

make bench                                       everything; takes hours, and an otherwise idle machine
make bench WORK='labels-smollm2-* sft-*'         some of it
make bench WORK=ppo-testbed-full-float32 PEERS=trl-1.12
python -m benchmarks.bench --list                the works, their peers, and about how long each takes
python -m benchmarks.bench --quick WORK          small sizes on the bundled model; its figures say nothing
python -m benchmarks.bench --page                only the page, from the results that are there
"""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import page, probe
from benchmarks.bench.alternation import Environments, Meeting, Repeats, environment_of, meet, with_environment
from benchmarks.bench.limits import Machine
from benchmarks.bench.machine import cpu_name
from benchmarks.bench.measured import ratio_of
from benchmarks.bench.results import FOLDER, Result, read_results, table
from benchmarks.bench.sizes import Scale, Setting
from benchmarks.bench.works import HF, OWN, TRL_PPO, VLLM, Peer, Work, works
from solon.errors import InputError, SolonError

REPEATS = 5


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("works", nargs="*", metavar="WORK", help="names or patterns; all works when there is none")
    parser.add_argument("--list", action="store_true", help="print the works")
    parser.add_argument("--page", action="store_true", help="write docs/performance.md from the results")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="after one that warms up (5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="all cores by default")
    parser.add_argument("--quick", action="store_true", help="small sizes on the bundled model")
    parser.add_argument("--peers", nargs="*", default=[HF, TRL_PPO, VLLM], help="environments of peers to compare with")
    parser.add_argument("--python", nargs="*", default=[], metavar="NAME=PATH", help="the Python of an environment")
    parser.add_argument("--out", type=Path, help="folder of the results (benchmarks/results; not for --quick)")
    return parser


def chosen(patterns: Sequence[str]) -> list[Work]:
    """The works that match; raises InputError for a pattern that no work matches."""
    known = works()
    for pattern in patterns:
        if not fnmatch.filter([work.name for work in known], pattern):
            remedy = "Type: python -m benchmarks.bench --list"
            raise InputError(f"no work is named '{pattern}'", place="WORK", remedy=remedy)
    return [work for work in known if not patterns or any(fnmatch.fnmatch(work.name, each) for each in patterns)]


def listing(found: Sequence[Work]) -> str:
    """The works as lines."""
    lines = [
        f"{work.name:40s} {work.minutes:4.0f} min  {work.title}; beside {', '.join(peer.title for peer in work.peers)}"
        for work in found
    ]
    return "\n".join([*lines, f"{sum(work.minutes for work in found) / 60:.1f} hours in all"])


def result_of(
    work: Work, peer: Peer, repeats: Repeats, meeting: Meeting, setting: Setting, machine: dict[str, Machine]
) -> Result:
    """The result of one comparison."""
    solon, other = ([work.measure.of(each) for each in found.answers] for found in (meeting.solon, repeats))
    ratio = ratio_of(work.measure, solon, other)
    demand, limit = meeting.prepared.demand, machine.get(work.dtype)
    of_limit, bound = None, ""
    if demand is not None and limit is not None:
        of_limit = page.median([demand.seconds(limit) / each.seconds for each in meeting.solon.answers])
        bound = demand.bound(limit)
    return Result(
        name=f"{work.name}.{peer.name}",
        work=work.name,
        title=work.title,
        peer_name=peer.title,
        solon=page.median(solon),
        peer=page.median(other),
        ratio=ratio.value,
        low=ratio.low,
        high=ratio.high,
        of_limit=of_limit,
        limit=bound,
        bar=peer.bar,
        unit=work.unit,
        measure=work.measure,
        dtype=work.dtype,
        threads=setting.threads,
        repeats=setting.repeats,
        solon_mb=meeting.solon.peak_mb,
        peer_mb=repeats.peak_mb,
        date=datetime.date.today().isoformat(),
        cpu=cpu_name(),
        command=f"make bench WORK={work.name}",
        versions=dict(meeting.solon.versions),
        peer_versions=dict(repeats.versions),
    )


def measured(
    found: Sequence[Work], setting: Setting, environments: Environments, allowed: Sequence[str], out: Path
) -> list[Result]:
    """Measure the works, write each result as soon as it is there, and return all."""
    command = [str(environments.python(OWN)), "-m", probe.__name__]
    machine = probe.machine_of(command, environment_of(setting.threads), setting)
    print(f"{cpu_name()}, {setting.threads} threads: " + probe.summary(machine), flush=True)
    results = []
    for work in found:
        peers = with_environment(work.peers, allowed)
        if not peers:
            print(f"{work.name}: its peers are left out", flush=True)
            continue
        print(work.name, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            meeting = meet(work, peers, setting, environments, Path(folder), lambda line: print(line, flush=True))
        made = [result_of(work, peer, repeats, meeting, setting, machine) for peer, repeats in meeting.peers]
        for each in made:
            each.write(out)
        results += made
    return results


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says; 1 after an error."""
    parser = options()
    given = parser.parse_args(words)
    if given.quick and given.out is None and not given.list:
        parser.error("--quick needs --out: its figures must not lie beside real ones")
    if given.repeats < 1 or given.threads < 1:
        parser.error("--repeats and --threads must be 1 or more")
    out = given.out or FOLDER
    try:
        found = chosen(given.works)
        if given.list:
            print(listing(found))
            return 0
        if not given.page:
            named = dict(each.split("=", 1) for each in given.python)
            environments = Environments({name: Path(path).absolute() for name, path in named.items()})
            setting = Setting(Scale.QUICK if given.quick else Scale.FULL, given.threads, given.repeats)
            print(table(measured(found, setting, environments, given.peers, out)))
        if out == FOLDER:
            page.PAGE.write_text(page.page_of(read_results(FOLDER), page.read_reasons(page.REASONS)), encoding="utf-8")
    except SolonError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
