"""`solon demo`: the whole method on the bundled testbed."""

from __future__ import annotations

import os
from pathlib import Path

import click

from solon.cli.options import PATH, QUIET
from solon.cli.run import run as run_command


@click.command(
    epilog="""\b
Examples:
  solon demo                  in the new folder runs/demo
  solon demo runs/again       in another folder
"""
)
@click.argument("run", type=PATH, default=Path("runs/demo"))
@QUIET
@click.pass_context
def demo(context: click.Context, run: Path, quiet: bool) -> None:
    """Run the whole method on the bundled testbed.

    It takes minutes on two CPU cores and needs no GPU, key or download. It does what solon run RUN --recipe testbed
    does. A second call continues an interrupted run, or prints the results of a finished one.
    """
    # Torch reads these when it is loaded: threads that wait for work then leave their core to others.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    context.invoke(run_command, run=run, recipe="testbed", quiet=quiet)
