"""`solon reproduce`: train every model of the paper on the testbed, and draw its figures with verdicts."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from solon.cli.options import NEW_FOLDER, PATH, QUIET, settings_option
from solon.cli.terminal import print_table, print_warning, resumable


@click.command(
    epilog="""\b
Examples:
  solon reproduce --out runs/reproduction
  solon reproduce --out runs/reproduction-small --size small
  solon reproduce --out runs/reproduction --judges runs/judges      with real models in figures 4, 9 and 12
  solon reproduce --plan                                            only print what it would train
"""
)
@click.option("--out", "folder", type=NEW_FOLDER, default="runs/reproduction", show_default=True,
              help="The folder for runs, measurements and figures.")  # fmt: skip
@click.option("--size", type=click.Choice(["small", "full"]), default="full", show_default=True,
              help="About a third of the recipe testbed, or the recipe as it is.")  # fmt: skip
@settings_option("One setting, for all runs.")
@click.option("--judges", type=PATH, metavar="FOLDER", help="Results of real models, from benchmarks/judges.py.")
@click.option("--plan", "show_plan", is_flag=True, help="Print the runs and what they reuse, and stop.")
@QUIET
def reproduce(
    folder: Path, size: str, settings: tuple[str, ...], judges: Path | None, show_plan: bool, quiet: bool
) -> None:
    """Reproduce the paper's figures on the testbed.

    Trains the pretrained model to helpful-only and HH RLHF, SL-CAI-1 to -4, and RL-CAI with and without chain of
    thought. Measures them as the paper does, with the testbed's oracle in the place of people, and draws figures 2 to
    10 and 12. Each figure has the paper's claim, our number with its interval, and whether it holds. Ctrl-C saves; the
    same command continues.
    """
    from solon.pipeline.reproduction.paper_runs import SIZES, planned_runs, recipe_of, revisions_of
    from solon.pipeline.reproduction.real_judges import read_real_judges

    runs = planned_runs(revisions_of(SIZES[size], settings))
    if show_plan:
        for run in runs:
            recipe_of(run, SIZES[size], settings)
        rows = [[run.name, run.purpose, run.until, ", ".join(run.reuses) or "-"] for run in runs]
        print_table(f"Runs of size {size}", ("Run", "What it trains", "Last stage", "Reuses"), rows)
        return
    real = tuple(read_real_judges(judges)) if judges else ()
    from solon.cli.display import display_for
    from solon.pipeline.reproduction.paper_reproduction import Reproduction
    from solon.pipeline.reproduction.paper_reproduction import reproduce as reproduce_paper
    from solon.reporting.reproduction_page import TABLE, found_in_words, summary, verdict_in_words, write_reproduction

    again = f"the same command, --out {shlex.quote(str(folder))}"
    with resumable(again), display_for(quiet=quiet) as display:
        results = reproduce_paper(Reproduction(SIZES[size], settings, real), folder, display)
    figures = [[str(each.number), each.title, verdict_in_words(each)] for each in results.figures]
    print_table(f"The paper's figures on the testbed: {summary(results)}", ("Figure", "What", "Verdict"), figures)
    checks = [
        [str(each.number), check.says, found_in_words(check), str(check.verdict)]
        for each in results.figures
        for check in each.checks
    ]
    print_table("Checks, with 95 % intervals", ("Figure", "Check", "Found", "Verdict"), checks)
    for line in results.warnings:
        print_warning(line)
    click.echo(f"Page: {write_reproduction(results, folder)}")
    click.echo(f"Tables: {folder / TABLE}")
