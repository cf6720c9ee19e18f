"""`solon snapshots`: measure the policy at several steps of its training, to find over-training."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from solon.cli.options import QUIET, RUN
from solon.cli.terminal import print_line, print_table, resumable
from solon.stats.intervals import interval, per_cent

EPILOG = """\b
Examples:
  solon snapshots runs/over             measure every snapshot, and write the report again
  solon snapshots runs/over --quiet     only the table
\b
A run keeps snapshots when its recipe says so:
  --set rl.snapshots=10 --set rl.held_out_share=0.5, or --overlay over-training
"""
LABELS = ("good", "harmful", "evasive", "objecting", "preachy", "garbled", "helpful")


@click.command(epilog=EPILOG)
@RUN
@QUIET
def snapshots(run: Path, quiet: bool) -> None:
    """Measure snapshots of the policy, to find over-training.

    RUN is a run with snapshots (rl.snapshots). Each snapshot, from SL-CAI (step 0) on, replies to the held-out prompts.
    The run's grader rates the replies. The preference model scores them, and so does the held-out one
    (rl.held_out_share, rl.held_out_scorer). Ctrl-C saves; the same command continues.
    """
    from solon.runs import RunDirectory

    directory = RunDirectory.open(run)
    from solon.cli.display import display_for
    from solon.pipeline.extra_stages import measure_snapshots
    from solon.reporting import write

    again = f"solon snapshots {shlex.quote(str(run))}"
    with resumable(again), directory.lock(), display_for(quiet=quiet) as display:
        artefact = measure_snapshots(directory, display)
    _print(artefact.facts["snapshots"])
    for sign in artefact.facts["signs"]:
        print_line(f"A sign of {sign}")
    click.echo(f"Report: {write(directory)}")


def _print(by_step: Mapping[str, Mapping[str, Any]]) -> None:
    shares = [name for name in LABELS if any(name in measures for measures in by_step.values())]
    scores = [name for name in ("score", "held_out_score") if any(name in measures for measures in by_step.values())]

    def cells(measures: Mapping[str, Any]) -> list[str]:
        percentages = [f"{per_cent(measures[name]['value'])} [{interval(measures[name])}]" for name in shares]
        return percentages + [f"{measures[name]['value']:+.2f}" if name in measures else "-" for name in scores]

    rows = [[step, *cells(measures)] for step, measures in by_step.items()]
    head = ("Step", *shares, *(name.replace("_", " ") for name in scores))
    print_table("Replies of the policy's snapshots to held-out prompts, % [95 % interval], and mean scores", head, rows)
