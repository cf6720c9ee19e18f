"""What `solon run --dry-run` prints: settings, questions as models will read them, calls, tokens and time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from solon.config.recipe import Recipe
    from solon.pipeline.estimate import RunEstimate

HEAD = ("Stage", "Calls, at most", "Prompt tokens", "at most", "Completion tokens", "at most", "Time")


def print_estimate(
    run: Path, recipe: str | None, overlays: Sequence[str], settings: Sequence[str], until: str | None = None
) -> None:
    """Estimate the run in a folder that exists, or one that would be made, up to a stage; writes nothing there.

    Raises what `solon run` itself would: RecipeError, ConstitutionError, InputError, ModelError and RunError.
    """
    from solon.cli.terminal import plain
    from solon.config.loading import dump_recipe

    resolved, constitution, finished = _resolved(run, recipe, overlays, settings)
    from solon.pipeline.estimate import estimate_run
    from solon.pipeline.preflight import preflight
    from solon.stages.plan import names_of

    stages = names_of(resolved)
    later = stages[stages.index(until) + 1 :] if until else ()
    click.echo(f"# The settings of {run}\n{dump_recipe(resolved)}")
    for note in preflight(resolved, constitution, finished, until):
        click.echo(plain(note, lines=False), err=True)
    click.echo("Asking models about a few prompts of each kind ...", err=True)
    estimate = estimate_run(resolved, constitution, (*finished, *later))
    _print_questions(estimate)
    _print_costs(estimate)
    if finished:
        click.echo(f"Not counted, because they are finished: {', '.join(finished)}.")
    if later:
        click.echo(f"Not counted, because they come after {until}: {', '.join(later)}.")
    click.echo("Nothing was written to the run's folder. Leave out --dry-run to run it.")


def _resolved(
    run: Path, recipe: str | None, overlays: Sequence[str], settings: Sequence[str]
) -> tuple[Recipe, Path, list[str]]:
    """The recipe, the constitution's file and the finished stages, without making a folder."""
    from solon.config.builtin import constitution_path
    from solon.config.loading import load_recipe
    from solon.pipeline.open_run import open_or_create

    if (run / "run.json").exists():
        directory = open_or_create(run, recipe, tuple(overlays), tuple(settings))
        return directory.recipe, run / "constitution.yaml", [artefact.name for artefact in directory.artefacts()]
    asked = load_recipe(recipe or "testbed", overlays, settings)
    return asked, constitution_path(asked.constitution), []


def _print_questions(estimate: RunEstimate) -> None:
    from solon.cli.terminal import print_prompt

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
    from solon.cli.terminal import print_table

    rows = [
        [f"{each.stage}: {each.what}", f"{each.calls:,}"]
        + [f"{n:,}" for of in (each.prompt, each.completion) for n in (of.estimate, of.bound)]
        + [clock(each.seconds)]
        for each in estimate.calls
    ]
    every = estimate.calls
    rows.append(
        ["all", f"{sum(each.calls for each in every):,}"]
        + [
            f"{sum(numbers):,}"
            for numbers in (
                [each.prompt.estimate for each in every],
                [each.prompt.bound for each in every],
                [each.completion.estimate for each in every],
                [each.completion.bound for each in every],
            )
        ]
        + [clock(sum(each.seconds for each in every))]
    )
    print_table("What models are asked", HEAD, rows)
    learning = [[each.stage, f"{each.tokens:,}", clock(each.seconds)] for each in estimate.learning]
    if learning:
        print_table("What models learn from, roughly", ("Stage", "Tokens", "Time"), learning)
    for name, speed in estimate.speeds.items():
        click.echo(f"Measured: {name} reads {speed.reading:,.0f} and writes {speed.writing:,.0f} tokens a second.")
    click.echo(f"The whole run would take about {clock(estimate.seconds)}, by the lengths and speeds just seen.")
