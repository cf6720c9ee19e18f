"""`solon ablate`: variants of a recipe, run, measured and drawn."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from solon.cli.terminal import INTERRUPTED
from solon.stats.intervals import interval, per_cent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


@click.command(
    epilog="""\b
Examples:
  solon ablate revisions --out runs/revisions                    harm by revision, 1 to 4
  solon ablate critique-or-direct --out runs/critiques           with and without critiques
  solon ablate principles --out runs/principles                  1, 2, 4, 8 and 16 principles
  solon ablate sl-cai-n --out runs/sl-cai-n                      SL-CAI-1 to SL-CAI-4, trained and measured
  solon ablate labels --out runs/labels                          preference models of eleven kinds of labels
  solon ablate figure-2 --out runs/figure-2                      RL-CAI beside the baselines taught by people
  solon ablate evasiveness --out runs/evasiveness --seeds 5      RL-CAI and HH RLHF, five runs each
  solon ablate sl-cai-n --out runs/small --set prompts.limit_red_team=48
  solon ablate mine.yaml --out runs/mine                         your own file, written like an ablation.yaml there
"""
)
@click.argument("name", metavar="NAME_OR_FILE")
@click.option(
    "--out", "folder", required=True, type=click.Path(path_type=Path), help="The folder for the variants' runs."
)
@click.option("--recipe", default="testbed", show_default=True, metavar="NAME_OR_FILE", help="The recipe to vary.")
@click.option(
    "--overlay", "overlays", multiple=True, metavar="FILE", help="Settings that replace the recipe's; may be repeated."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="One setting, for all variants.")
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run every variant with the seeds 0 to N-1 and print means.",
)
@click.option("--quiet", "-q", is_flag=True, help="Show no progress, only the result.")
def ablate(
    name: str,
    folder: Path,
    recipe: str,
    overlays: tuple[str, ...],
    settings: tuple[str, ...],
    seeds: int | None,
    quiet: bool,
) -> None:
    """Compare variants of a recipe, with a figure.

    NAME is a built-in ablation or your own YAML file. Every variant is a run below --out and reuses what earlier
    variants did. Prints a table with 95 % intervals, and writes ablation.html with the figure and ablation.json with
    the numbers. Ctrl-C saves; the same command continues.
    """
    # What was typed is checked before anything heavy is imported, so that a mistake is told at once.
    from solon.config.experiment import load_experiment, trials_of

    experiment = load_experiment(name)
    if seeds is not None:
        experiment = experiment.model_copy(update={"seeds": tuple(range(seeds))})
    trials = trials_of(experiment, recipe, overlays, settings)
    from solon.cli.display import display_for
    from solon.pipeline.ablation import ablate as run_variants
    from solon.reporting.variants import write_page

    try:
        with display_for(quiet=quiet) as display:
            figures = run_variants(experiment, trials, folder, display)
    except KeyboardInterrupt:
        go_on = f"Go on with the same command, --out {shlex.quote(str(folder))}"
        click.echo(f"Stopped; what was finished is saved. {go_on}", err=True)
        click.get_current_context().exit(INTERRUPTED)
    print_figures(figures)
    click.echo(f"Figure: {write_page(figures, folder)}")


def print_figures(figures: Mapping[str, Any]) -> None:
    """An ablation's table."""
    from solon.cli.terminal import plain, print_table
    from solon.reporting.variants import caption_of, columns_of, is_mean

    head, rows = columns_of(figures)

    def cell(share: Mapping[str, Any] | None) -> str:
        if share is None:
            return "-"
        return f"{per_cent(share['value'])} [{interval(share)}]" + ("" if is_mean(share) else f" of {share['n']}")

    shown = [[name, *map(cell, shares)] for name, shares in rows]
    click.echo(plain(figures["question"], lines=False))
    print_table(caption_of(figures), ("Variant", *head), shown)
