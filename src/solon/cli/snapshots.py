"""`solon snapshots`: what the policy replied on its way, step by step, and whether it was trained too far."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from solon.cli.terminal import INTERRUPTED
from solon.stats.intervals import interval, per_cent

EPILOG = """\b
Examples:
  solon snapshots runs/over             measure every snapshot, and write the report anew
  solon snapshots runs/over --quiet     only the table
\b
A run keeps snapshots when it is made so:
  --set rl.snapshots=10 --set rl.held_out_share=0.5, or --overlay over-training
"""
COLUMNS = ("good", "harmful", "evasive", "objecting", "preachy", "garbled", "helpful")


@click.command(epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--quiet", "-q", is_flag=True, help="Show no progress, only the result.")
def snapshots(run: Path, quiet: bool) -> None:
    """Measure snapshots of the policy, to find over-training.

    RUN is a run whose recipe keeps snapshots (rl.snapshots). Each snapshot, from SL-CAI (step 0) on, answers the
    held-out prompts. The run's grader rates the replies. The preference model and the held-out one
    (rl.held_out_share, rl.held_out_scorer) score them. Ctrl-C saves; the same command continues.
    """
    from solon.runs import RunDirectory

    directory = RunDirectory.open(run)
    from solon.cli.display import display_for
    from solon.cli.terminal import plain
    from solon.pipeline.extra_stages import measure_snapshots
    from solon.reporting import write

    try:
        with directory.lock(), display_for(quiet=quiet) as display:
            artefact = measure_snapshots(directory, display)
    except KeyboardInterrupt:
        again = f"solon snapshots {shlex.quote(str(run))}"
        click.echo(f"Stopped. Everything finished is saved. Continue with: {again}", err=True)
        click.get_current_context().exit(INTERRUPTED)
    _print(artefact.facts["snapshots"])
    for sign in artefact.facts["signs"]:
        click.echo(plain(f"A sign of {sign}", lines=False))
    click.echo(f"Report: {write(directory)}")


def _print(found: Mapping[str, Mapping[str, Any]]) -> None:
    from solon.cli.terminal import print_table

    shares = [name for name in COLUMNS if any(name in measures for measures in found.values())]
    scores = [name for name in ("score", "held_out_score") if any(name in measures for measures in found.values())]

    def cells(measures: Mapping[str, Any]) -> list[str]:
        told = [f"{per_cent(measures[name]['value'])} [{interval(measures[name])}]" for name in shares]
        return told + [f"{measures[name]['value']:+.2f}" if name in measures else "-" for name in scores]

    rows = [[step, *cells(measures)] for step, measures in found.items()]
    head = ("Step", *shares, *(name.replace("_", " ") for name in scores))
    print_table("Replies of the policy's snapshots to held-out prompts, % [95 % interval], and mean scores", head, rows)
