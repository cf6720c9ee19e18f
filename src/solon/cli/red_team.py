"""`solon red-team`: more red-team prompts, written by a model from the run's human ones."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from solon.cli.terminal import INTERRUPTED

EPILOG = """\b
Examples:
  solon red-team runs/red --recipe testbed --set red_team.count=200
  solon red-team runs/red                                     go on where it stopped, or say what it made
  solon red-team runs/red --recipe real --set models.red_team=models/base --set red_team.count=5000
  solon red-team runs/red --recipe real --set prompts.red_team=hf:Anthropic/hh-rlhf/red-team-attempts:train
\b
A run takes human and model-written prompts together as one source:
  prompts.red_team = human.jsonl + runs/red/10-red-team/prompts.jsonl
"""


@click.command(name="red-team", epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--recipe", metavar="NAME_OR_FILE", help="A built-in recipe or a YAML file. [default: testbed]")
@click.option(
    "--overlay", "overlays", multiple=True, metavar="FILE", help="Settings that replace the recipe's; may be repeated."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="One setting, e.g. red_team.count=200.")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress, only the result.")
def red_team(run: Path, recipe: str | None, overlays: tuple[str, ...], settings: tuple[str, ...], quiet: bool) -> None:
    """Write more red-team prompts with a model.

    RUN is the folder of a new or an existing run. Its red-team prompts (prompts.red_team) are the examples, and its
    pretrained model (or models.red_team) writes, by the settings `red_team` of the recipe. Prompts that pass the rules
    go to prompts.jsonl, which a recipe can name as a source. Ctrl-C saves; the same command continues.
    """
    from solon.cli.constitution_check import warn_of_unread_rules
    from solon.pipeline.open_run import asked_recipe, open_or_create

    new = not (run / "run.json").exists()
    if new:
        warn_of_unread_rules(asked_recipe(run, recipe, overlays, settings))
    directory = open_or_create(run, recipe, overlays, settings)
    from solon.cli.display import display_for
    from solon.cli.terminal import plain
    from solon.pipeline.extra_stages import write_red_team
    from solon.runs.cleanup import locked_run
    from solon.stages.extra_red_team import PROMPTS_FILE, summary

    try:
        with locked_run(directory, new=new), display_for(quiet=quiet) as display:
            artefact = write_red_team(directory, display)
    except KeyboardInterrupt:
        again = f"solon red-team {shlex.quote(str(run))}"
        click.echo(f"Stopped. Everything finished is saved. Continue with: {again}", err=True)
        click.get_current_context().exit(INTERRUPTED)
    for line in summary(artefact.facts):
        click.echo(plain(line, lines=False))
    click.echo(f"Prompts: {artefact.path / PROMPTS_FILE}")
