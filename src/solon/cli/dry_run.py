"""What `solon run --dry-run` prints: settings, prompts as models will read them, calls, tokens and time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from solon.cli.terminal import print_line, print_prompt, print_table

if TYPE_CHECKING:
    from solon.config.recipe import Recipe
    from solon.pipeline.cost import Calls
    from solon.pipeline.estimate import RunEstimate

HEAD = ("Stage", "Calls, at most", "Prompt tokens", "at most", "Completion tokens", "at most", "Time")


def print_estimate(
    run: Path,
    recipe: str | None,
    overlays: Sequence[str],
    settings: Sequence[str],
    reuse: Sequence[Path] = (),
    until: str | None = None,
) -> None:
    """Print the estimate for a run that exists, or for a new one, up to the stage `until`; writes nothing there.

    Raises the errors of `solon run` itself: RecipeError, ConstitutionError, InputError, ModelError and RunError.
    """
    from solon.config.loading import dump_recipe
    from solon.pipeline.open_run import asked_recipe, base_recipe, refuse_unknown_stage

    refuse_unknown_stage(until, asked_recipe(run, recipe, overlays, settings, reuse))
    if not (run / "run.json").exists() and (base := base_recipe(recipe, reuse)) is not None:
        recipe = str(base)
    resolved, constitution, finished = _resolve(run, recipe, overlays, settings)
    from solon.pipeline.estimate import estimate_run
    from solon.pipeline.preflight import preflight
    from solon.stages.plan import names_of

    stages = names_of(resolved)
    later = stages[stages.index(until) + 1 :] if until else ()
    click.echo(f"# The settings of {run}\n{dump_recipe(resolved)}")
    for note in preflight(resolved, constitution, finished, until):
        print_line(note, err=True)
    click.echo("Asking models about a few prompts of each kind ...", err=True)
    estimate = estimate_run(resolved, constitution, (*finished, *later))
    _print_prompts(estimate)
    _print_costs(estimate)
    if finished:
        click.echo(f"Not counted, because they are finished: {', '.join(finished)}.")
    if later:
        click.echo(f"Not counted, because they come after {until}: {', '.join(later)}.")
    click.echo("Nothing was written to the run's folder. Leave out --dry-run to run it.")
    if reuse:
        click.echo("Answers of the reused runs are not subtracted; solon constitution diff --run shows them.")


def _resolve(
    run: Path, recipe: str | None, overlays: Sequence[str], settings: Sequence[str]
) -> tuple[Recipe, Path, list[str]]:
    """The recipe, the constitution's file and the finished stages; makes no folder."""
    from solon.config.builtin import constitution_path
    from solon.config.loading import load_recipe
    from solon.pipeline.open_run import open_or_create

    if (run / "run.json").exists():
        directory = open_or_create(run, recipe, tuple(overlays), tuple(settings))
        return directory.recipe, run / "constitution.yaml", [artefact.name for artefact in directory.artefacts()]
    loaded = load_recipe(recipe or "testbed", overlays, settings)
    return loaded, constitution_path(loaded.constitution), []


def _print_prompts(estimate: RunEstimate) -> None:
    for kind, questions in estimate.shown.items():
        first = questions[0]
        for number, each in enumerate(questions, start=1):
            answered = f", answered in {each.completion_tokens}" if each.completion_tokens else ""
            click.echo(f"--- {kind}, {number} of {len(questions)}: {each.prompt_tokens} tokens{answered}")
            repeated = number > 1 and each.shared == first.shared and each.shared != ""
            print_prompt("[the same worked examples]\n\n" if repeated else each.shared, each.own)
            click.echo()


def _print_costs(estimate: RunEstimate) -> None:
    from solon.cli.display import clock

    def row(name: str, calls: Sequence[Calls]) -> list[str]:
        counts = (
            sum(each.calls for each in calls),
            sum(each.prompt.estimate for each in calls),
            sum(each.prompt.bound for each in calls),
            sum(each.completion.estimate for each in calls),
            sum(each.completion.bound for each in calls),
        )
        return [name, *(f"{count:,}" for count in counts), clock(sum(each.seconds for each in calls))]

    rows = [row(f"{each.stage}: {each.what}", [each]) for each in estimate.calls]
    print_table("What models are asked", HEAD, [*rows, row("all", estimate.calls)])
    learning = [[each.stage, f"{each.tokens:,}", clock(each.seconds)] for each in estimate.learning]
    if learning:
        print_table("What models learn from, roughly", ("Stage", "Tokens", "Time"), learning)
    for name, speed in estimate.speeds.items():
        click.echo(f"Measured: {name} reads {speed.reading:,.0f} and writes {speed.writing:,.0f} tokens a second.")
    click.echo(f"The whole run would take about {clock(estimate.seconds)}, by the lengths and speeds just seen.")
