"""`solon run`: a new run, or the next session of one. Passes its options to `solon.run` and prints the result."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from solon.cli.constitution_check import warn_of_unread_rules
from solon.cli.options import OVERLAYS, PATH, QUIET, RUN, on_option, recipe_option, settings_option, weak_judge_option
from solon.cli.terminal import INTERRUPTED, print_line
from solon.config.launch import launched

if TYPE_CHECKING:
    from solon.config.ray_cluster import RayCluster
    from solon.runs import RunDirectory


EPILOG = """\b
Examples:
  solon run runs/demo --recipe testbed                          a whole run, in minutes, on two cores
  solon run runs/demo                                           continue where it stopped, or print the results
  solon run runs/mild --recipe testbed --set rl.kl_coef=0.4          one setting changed
  solon run runs/mine --recipe testbed --overlay house.yaml     a file of changed settings on top
  solon run runs/rloo --set rl.algorithm=rloo --set rl.samples_per_prompt=2
  solon run runs/demo --until sl-cai                            only as far as the supervised model
  solon run runs/mine --recipe testbed --dry-run                print prompts, calls, tokens and time
  solon run runs/mine --accept-weak-judge                       continue with a judge that is not better than chance
  solon run runs/v2 --reuse runs/demo --set constitution=new.yaml   after editing a principle: run only what it affects
  solon run runs/mine --on ray --actors 4                       ask models in four processes
  solon run runs/mine --on ray:10.0.0.5:6379 --actors 8 --actor-gpus 1     ask them on a Ray cluster
  accelerate launch --multi_gpu --num_processes 4 -m solon.cli run runs/mine      on four GPUs: training is shared
"""


@click.command(epilog=EPILOG)
@RUN
@recipe_option("A built-in recipe or a YAML file. [default: testbed]")
@OVERLAYS
@settings_option("One setting, e.g. rl.steps=20.")
@click.option(
    "--reuse",
    multiple=True,
    type=PATH,
    metavar="RUN",
    help="Reuse finished stages and answers of RUN; its recipe is the default. May be repeated.",
)
@click.option("--until", metavar="STAGE", help="Stop after this stage, e.g. sl-cai. A later call continues.")
@weak_judge_option
@on_option
@QUIET
@click.option("--dry-run", is_flag=True, help="Print settings, prompts, calls, tokens and time. Write nothing.")
def run(
    run: Path,
    recipe: str | None,
    overlays: tuple[str, ...],
    settings: tuple[str, ...],
    reuse: tuple[Path, ...],
    until: str | None,
    on: RayCluster | None,
    quiet: bool,
    dry_run: bool,
) -> None:
    """Start a run, or continue one.

    RUN is the run's folder. Solon makes it if it does not exist. Ctrl-C finishes the calls in flight and saves them.
    The same command continues.
    """
    is_main = launched()[0] == 0
    if dry_run:
        if is_main:
            from solon.cli.dry_run import print_estimate

            print_estimate(run, recipe, overlays, settings, reuse, until)
        return
    from solon import api
    from solon.cli.display import display_for
    from solon.cli.inspect import print_results

    if is_main and not (run / "run.json").exists():
        from solon.pipeline.open_run import asked_recipe, refuse_unknown_stage

        # A wrong option is reported before anything heavy is imported.
        asked = asked_recipe(run, recipe, overlays, settings, reuse)
        refuse_unknown_stage(until, asked)
        warn_of_unread_rules(asked)
    try:
        with display_for(quiet=quiet) as display:
            done = api.run(
                recipe, run, overlays=overlays, settings=settings, until=until, reuse=reuse, display=display, on=on
            )
    except KeyboardInterrupt:
        if not is_main or not (run / "run.json").exists():
            raise
        click.echo(f"Stopped. Everything finished is saved. Continue with: solon run {shlex.quote(str(run))}", err=True)
        click.get_current_context().exit(INTERRUPTED)
    if is_main:
        print_results(done.directory)
        print_reused(done.directory)
        click.echo(f"Report: {done.report()}")


def print_reused(directory: RunDirectory) -> None:
    """Print which stages and answers come from other runs, if any were reused."""
    if not directory.reuses:
        return
    adopted = [artefact.name for artefact in directory.artefacts() if artefact.manifest.adopted_from]
    with directory.answers() as answers:
        usage = answers.usage().values()
    known, total = sum(each.reused for each in usage), sum(each.answers for each in usage)
    sources = " and ".join(map(str, directory.reuses))
    stages = f"stages {', '.join(adopted)}; " if adopted else ""
    print_line(f"From {sources}: {stages}{known:,} of {total:,} answers of the other stages")
