"""`solon red-team`: more red-team prompts, written by a model from the run's human ones."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from solon.cli.options import OVERLAYS, QUIET, RUN, on_option, recipe_option, settings_option
from solon.cli.terminal import print_line, resumable

if TYPE_CHECKING:
    from solon.config.ray_cluster import RayCluster

EPILOG = """\b
Examples:
  solon red-team runs/red --recipe testbed --set red_team.count=200
  solon red-team runs/red                                     continue where it stopped, or print what it made
  solon red-team runs/red --recipe real --set models.red_team=models/base --set red_team.count=5000
  solon red-team runs/red --recipe real --set prompts.red_team=hf:Anthropic/hh-rlhf/red-team-attempts:train
\b
A run takes human and model-written prompts together as one source:
  prompts.red_team = human.jsonl + runs/red/10-red-team/prompts.jsonl
"""


@click.command(name="red-team", epilog=EPILOG)
@RUN
@recipe_option("A built-in recipe or a YAML file. [default: testbed]")
@OVERLAYS
@settings_option("One setting, e.g. red_team.count=200.")
@on_option
@QUIET
def red_team(
    run: Path,
    recipe: str | None,
    overlays: tuple[str, ...],
    settings: tuple[str, ...],
    on: RayCluster | None,
    quiet: bool,
) -> None:
    """Write more red-team prompts with a model.

    RUN is the folder of a new or an existing run. Its red-team prompts (prompts.red_team) are the examples. Its
    pretrained model (or models.red_team) writes, with the recipe's settings `red_team`. Prompts that pass the rules go
    to prompts.jsonl, which a recipe can name as a source. Ctrl-C saves; the same command continues.
    """
    from solon.cli.constitution_check import warn_of_unread_rules
    from solon.pipeline.open_run import asked_recipe, open_or_create

    new = not (run / "run.json").exists()
    if new:
        warn_of_unread_rules(asked_recipe(run, recipe, overlays, settings))
    directory = open_or_create(run, recipe, overlays, settings)
    from solon.cli.display import display_for
    from solon.pipeline.extra_stages import write_red_team
    from solon.runs.cleanup import locked_run
    from solon.stages.extra_red_team import PROMPTS_FILE, summary

    again = f"solon red-team {shlex.quote(str(run))}"
    with resumable(again), locked_run(directory, new=new), display_for(quiet=quiet) as display:
        artefact = write_red_team(directory, display, on)
    for line in summary(artefact.facts):
        print_line(line)
    click.echo(f"Prompts: {artefact.path / PROMPTS_FILE}")
