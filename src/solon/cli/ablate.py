"""`solon ablate`: run, measure and plot variants of a recipe."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from solon.cli.options import OVERLAYS, PATH, QUIET, recipe_option, settings_option
from solon.cli.terminal import print_line, print_table, resumable
from solon.stats.intervals import interval, per_cent


@click.command(
    epilog="""\b
Examples:
  solon ablate revisions --out runs/revisions                    harm by revision, 1 to 4
  solon ablate critique-or-direct --out runs/critiques           with and without critiques
  solon ablate principles --out runs/principles                  1, 2, 4, 8 and 16 principles
  solon ablate sl-cai-n --out runs/sl-cai-n                      SL-CAI-1 to SL-CAI-4, trained and measured
  solon ablate labels --out runs/labels                          preference models from fifteen kinds of labels
  solon ablate figure-2 --out runs/figure-2                      RL-CAI and the baselines trained on human labels
  solon ablate evasiveness --out runs/evasiveness --seeds 5      RL-CAI and HH RLHF, five runs each
  solon ablate sl-cai-n --out runs/small --set prompts.limit_red_team=48
  solon ablate mine.yaml --out runs/mine                         your own file, in the form of a built-in one
"""
)
@click.argument("name", metavar="NAME_OR_FILE")
@click.option("--out", "folder", required=True, type=PATH, help="The folder for the variants' runs.")
@recipe_option("The recipe to vary.", default="testbed")
@OVERLAYS
@settings_option("One setting, for all variants.")
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run every variant with the seeds 0 to N-1 and print means.",
)
@QUIET
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

    NAME is a built-in ablation or your own YAML file. Every variant is a run in a folder below --out, and reuses the
    stages of earlier variants. The command prints a table with 95 % intervals and writes ablation.html with the figure
    and ablation.json with the numbers. Ctrl-C saves; the same command continues.
    """
    # The options are checked before anything heavy is imported, so that a mistake is reported at once.
    from solon.config.experiment import load_experiment, trials_of

    experiment = load_experiment(name)
    if seeds is not None:
        experiment = experiment.model_copy(update={"seeds": tuple(range(seeds))})
    trials = trials_of(experiment, recipe, overlays, settings)
    from solon.cli.display import display_for
    from solon.pipeline.ablation import ablate as run_variants
    from solon.reporting.variants import write_page

    with resumable(f"the same command, --out {shlex.quote(str(folder))}"), display_for(quiet=quiet) as display:
        figures = run_variants(experiment, trials, folder, display)
    print_figures(figures)
    click.echo(f"Figure: {write_page(figures, folder)}")


def print_figures(figures: Mapping[str, Any]) -> None:
    """Print an ablation's table."""
    from solon.reporting.variants import caption_of, columns_of, is_mean

    head, rows = columns_of(figures)

    def cell(share: Mapping[str, Any] | None) -> str:
        if share is None:
            return "-"
        return f"{per_cent(share['value'])} [{interval(share)}]" + ("" if is_mean(share) else f" of {share['n']}")

    print_line(figures["question"])
    print_table(caption_of(figures), ("Variant", *head), [[name, *map(cell, shares)] for name, shares in rows])
