"""`solon run`: a new run, or the next session of one.

A run directory remembers everything it was made with, so going on needs its name alone. A recipe, overlay or `--set`
that is given for a run that exists is compared with what is stored and refused where it differs: results of different
settings are never mixed.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from solon.cli.constitution_check import look_at_rules
from solon.cli.terminal import INTERRUPTED
from solon.config.launch import launched

if TYPE_CHECKING:
    from solon.config.recipe import Recipe
    from solon.runs import RunDirectory
    from solon.runs.progress import Display

ACCEPT = "judge_check.weak_judge=accept"
EPILOG = """\b
Examples:
  solon run runs/demo --recipe testbed                          a whole run, in minutes, on two cores
  solon run runs/demo                                           continue where it stopped, or print the results
  solon run runs/mild --recipe testbed --set rl.kl_coef=0.2          one setting changed
  solon run runs/mine --recipe testbed --overlay house.yaml     a file of changed settings on top
  solon run runs/rloo --set rl.algorithm=rloo --set rl.samples_per_prompt=2
  solon run runs/demo --until sl-cai                            only as far as the supervised model
  solon run runs/mine --recipe testbed --dry-run                print prompts, calls, tokens and time
  solon run runs/mine --accept-weak-judge                       continue with a judge that is not better than chance
  solon run runs/v2 --reuse runs/demo --set constitution=new.yaml   a principle changed: redo only what it touches
  accelerate launch --multi_gpu --num_processes 4 -m solon.cli run runs/mine      on four GPUs: training is shared
"""


@click.command(epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--recipe", metavar="NAME_OR_FILE", help="A built-in recipe or a YAML file. [default: testbed]")
@click.option(
    "--overlay", "overlays", multiple=True, metavar="FILE", help="Settings that replace the recipe's; may be repeated."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="One setting, e.g. rl.steps=20.")
@click.option(
    "--reuse",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Reuse finished stages and answers of RUN, whose recipe is the default; may be repeated.",
)
@click.option("--until", metavar="STAGE", help="Stop after this stage, e.g. sl-cai. A later call continues.")
@click.option(
    "--accept-weak-judge",
    "weak_judge",
    is_flag=True,
    help="Label even if the judge is not better than chance on known comparisons. The run keeps this setting.",
)
@click.option("--quiet", "-q", is_flag=True, help="Show no progress, only the result.")
@click.option("--dry-run", is_flag=True, help="Print settings, prompts, calls, tokens and time. Write nothing.")
def run(
    run: Path,
    recipe: str | None,
    overlays: tuple[str, ...],
    settings: tuple[str, ...],
    reuse: tuple[Path, ...],
    until: str | None,
    weak_judge: bool,
    quiet: bool,
    dry_run: bool,
) -> None:
    """Start a run, or continue one.

    RUN is the run's folder. Solon makes it if it does not exist. Ctrl-C finishes what is in flight and saves it. The
    same command continues.
    """
    if weak_judge:
        settings = (*settings, ACCEPT)
    if launched()[0]:
        if not dry_run:
            help_with(run, until)
        return
    if dry_run:
        from solon.cli.dry_run import print_estimate

        refuse_unknown_stage(until, asked_recipe(run, recipe, overlays, settings, reuse))
        known = (run / "run.json").exists()
        print_estimate(run, recipe if known else base_recipe(recipe, reuse), overlays, settings, until)
        if reuse:
            click.echo("Answers of the reused runs are not subtracted; solon constitution diff --run shows them.")
        return
    # What was typed is checked before anything heavy is imported, so that a mistake is told at once.
    asked = asked_recipe(run, recipe, overlays, settings, reuse)
    refuse_unknown_stage(until, asked)
    new = not (run / "run.json").exists()
    notes: tuple[str, ...] = ()
    if new:
        # Before the folder is made: a command that is refused leaves nothing that would refuse the corrected one.
        notes = looked_over(asked, None, until)
    directory = open_or_create(run, recipe, overlays, settings, reuse)
    from solon.cli.display import display_for
    from solon.cli.inspect import print_results
    from solon.pipeline.settled import is_settled
    from solon.report import write

    try:
        if launched()[1] == 1 and not directory.newly_decided and is_settled(directory):
            with display_for(quiet=quiet) as display:
                tell_kept(directory, display)
        else:
            go_on(directory, notes if new else looked_over(directory.recipe, directory, until), until, new, quiet)
    except KeyboardInterrupt:
        click.echo(f"Stopped. Everything finished is saved. Continue with: solon run {shlex.quote(str(run))}", err=True)
        click.get_current_context().exit(INTERRUPTED)
    print_results(directory)
    print_reused(directory)
    click.echo(f"Report: {write(directory)}")


def looked_over(recipe: Recipe, directory: RunDirectory | None, until: str | None) -> tuple[str, ...]:
    """What to know before a run begins or goes on; raises, before a token is spent, for what would stop it later."""
    from solon.config.builtin import constitution_path
    from solon.pipeline.preflight import preflight

    file = directory.path / "constitution.yaml" if directory else constitution_path(recipe.constitution)
    finished = [artefact.name for artefact in directory.artefacts()] if directory else []
    return preflight(recipe, file, finished, until)


def go_on(directory: RunDirectory, notes: Sequence[str], until: str | None, new: bool, quiet: bool) -> None:
    """Do what a run has not done yet, up to a stage; `notes` are told first."""
    from solon.cli.display import display_for
    from solon.pipeline.order import advance
    from solon.pipeline.settled import settle
    from solon.runs.withdrawal import holding
    from solon.stages.registry import MEASURE
    from solon.training.distributed.launched import joined

    with joined() as processes, holding(directory, new=new), display_for(quiet=quiet) as display:
        for note in notes:
            display.remark(note)
        processes.broadcast(True)  # the run is there and ours
        advance(directory, display, until or MEASURE, processes=processes)
        settle(directory)


def tell_kept(directory: RunDirectory, display: Display) -> None:
    """The stages of a finished run, as if they had been gone through."""
    from solon.stages.registry import names_of

    stages = names_of(directory.recipe)
    kept = {artefact.name: artefact.manifest.rows for artefact in directory.artefacts()}
    for number, name in enumerate(stages, start=1):
        display.stage_kept(number, name, len(stages), kept[name])


def help_with(run: Path, until: str | None) -> None:
    """Take this process's share of a run that the main process of the same launch makes or goes on with."""
    from solon.pipeline.order import advance
    from solon.runs import RunDirectory
    from solon.runs.progress import Silent
    from solon.stages.registry import MEASURE
    from solon.training.distributed.launched import joined

    with joined() as processes:
        processes.broadcast(True)
        directory = RunDirectory.open(run)
        with directory.following():
            advance(directory, Silent(), until or MEASURE, processes=processes)


def refuse_unknown_stage(name: str | None, recipe: Recipe) -> None:
    """Raises RecipeError, with the nearest name, for a stage that a run of the recipe does not have."""
    from solon.config.located_yaml import suggestion
    from solon.errors import RecipeError
    from solon.stages.registry import names_of

    stages = names_of(recipe)
    if name is not None and name not in stages:
        raise RecipeError("no such stage", place=f"--until {name}", remedy=suggestion(name, stages))


def print_reused(directory: RunDirectory) -> None:
    """What was taken over from other runs, if any were reused."""
    from solon.cli.terminal import plain

    if not directory.reuses:
        return
    adopted = [artefact.name for artefact in directory.artefacts() if artefact.manifest.adopted_from]
    with directory.answers() as answers:
        usage = answers.usage().values()
    known, total = sum(each.reused for each in usage), sum(each.answers for each in usage)
    whose = " and ".join(map(str, directory.reuses))
    stages = f"stages {', '.join(adopted)}; " if adopted else ""
    click.echo(plain(f"From {whose}: {stages}{known:,} of {total:,} answers of the other stages", lines=False))


def base_recipe(recipe: str | None, reuse: tuple[Path, ...]) -> str | None:
    """The recipe that was named, else that of the first run that is reused."""
    return str(reuse[0] / "recipe.yaml") if reuse and recipe is None else recipe


def asked_recipe(
    run: Path,
    recipe: str | None,
    overlays: tuple[str, ...],
    settings: tuple[str, ...],
    reuse: tuple[Path, ...] = (),
) -> Recipe:
    """The recipe that was asked for; of a run that exists its own, with what is laid over it."""
    from solon.config.loading import refuse_half_a_change
    from solon.config.recipe import load_recipe

    if (run / "run.json").exists():
        return load_recipe(str(run / "recipe.yaml") if recipe is None else recipe, overlays, settings)
    base = base_recipe(recipe, reuse) or "testbed"
    asked = load_recipe(base, overlays, settings)
    refuse_half_a_change(base, overlays, settings, asked)
    return asked


def open_or_create(
    run: Path,
    recipe: str | None,
    overlays: tuple[str, ...],
    settings: tuple[str, ...],
    reuse: tuple[Path, ...] = (),
) -> RunDirectory:
    """The run in a folder, new or old; a new one that reuses another starts from that one's recipe.

    Raises RecipeError and ConstitutionError for what is given, and RunError when it differs from what the run was made
    with (naming each setting, old and new).
    """
    from solon.config.builtin import constitution_path
    from solon.runs import RunDirectory

    if not (run / "run.json").exists():
        asked = asked_recipe(run, recipe, overlays, settings, reuse)
        file = constitution_path(asked.constitution)
        look_at_rules(asked, file)
        return RunDirectory.create(run, asked, file, reuse)
    stored = RunDirectory.open(run)
    if recipe is None and not overlays and not settings and not reuse:
        return stored
    asked = asked_recipe(run, recipe, overlays, settings)
    # The stored copy stands for a constitution of the same name; another name is another constitution.
    same = asked.constitution == stored.recipe.constitution
    file = run / "constitution.yaml" if same else constitution_path(asked.constitution)
    return RunDirectory.create(run, asked, file, reuse)
