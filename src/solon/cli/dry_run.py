"""What `solon run --dry-run` prints: settings, prompts as models will read them, calls, tokens, memory, time, price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from solon.cli.terminal import print_line, print_prompt, print_table

if TYPE_CHECKING:
    from solon.config.recipe import Recipe
    from solon.pipeline.cost import Calls
    from solon.pipeline.estimate import RunEstimate
    from solon.pipeline.memory_needs import Need

MEMORY_HEAD = ("For", "Weights", "Optimiser", "Activations", "Caches", "All", "What")
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
    from solon.pipeline.absent_models import absent_models
    from solon.pipeline.estimate import estimate_run
    from solon.pipeline.preflight import opened_models, preflight
    from solon.pipeline.run_memory import run_needs
    from solon.stages.plan import names_of, out_of_round

    stages = names_of(resolved)
    later = stages[stages.index(until) + 1 :] if until else ()
    click.echo(f"# The settings of {run}\n{dump_recipe(resolved)}")
    absent = absent_models(resolved)
    for note in preflight(resolved, constitution, finished, until, absent):
        print_line(note, err=True)
    click.echo("Asking models about a few prompts of each kind:", err=True)
    estimate = estimate_run(
        resolved, constitution, (*finished, *later), absent, begins=lambda what: click.echo(f"  {what}", err=True)
    )
    _print_prompts(estimate)
    coming = {out_of_round(name) for name in stages if name not in (*finished, *later)}
    opened = dict(opened_models(resolved, coming)).values()
    _print_memory(run_needs(resolved, coming, opened, planned=bool(absent)))
    _print_costs(estimate)
    _print_assumptions(resolved, estimate)
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
    def row(name: str, calls: Sequence[Calls]) -> list[str]:
        counts = (
            sum(each.calls for each in calls),
            sum(each.prompt.estimate for each in calls),
            sum(each.prompt.bound for each in calls),
            sum(each.completion.estimate for each in calls),
            sum(each.completion.bound for each in calls),
        )
        return [name, *(f"{count:,}" for count in counts), _time([each.seconds for each in calls])]

    rows = [row(f"{each.stage}: {each.what}", [each]) for each in estimate.calls]
    print_table("What models are asked", HEAD, [*rows, row("all", estimate.calls)])
    learning = [[each.stage, f"{each.tokens:,}", _time([each.seconds])] for each in estimate.learning]
    if learning:
        print_table("What models learn from, roughly", ("Stage", "Tokens", "Time"), learning)
    for name, speed in estimate.speeds.items():
        how = "Assumed" if name in estimate.absent else "Measured"
        click.echo(f"{how}: {name} reads {speed.reading:,.0f} and writes {speed.writing:,.0f} tokens a second.")
    by = "the assumptions below" if estimate.absent else "the lengths and speeds just seen"
    if all(each is None for each in estimate.times):
        click.echo("How long the whole run would take is not known.")
    else:
        click.echo(f"The whole run would take about {_time(estimate.times)}, by {by}.")


def _time(seconds: Sequence[float | None]) -> str:
    """The sum of times, and that it is more where some are not known."""
    from solon.cli.display import clock

    known = [each for each in seconds if each is not None]
    if not known and seconds:
        return "not known"
    return clock(sum(known)) + (" and more" if len(known) < len(seconds) else "")


def _print_memory(needed: Mapping[str, Need]) -> None:
    from solon.pipeline.memory_parts import gigabytes

    rows = []
    for what, need in needed.items():
        parts = need.parts
        sizes = (parts.weights, parts.optimiser, parts.activations, parts.cache, parts.total)
        rows.append([what, *(gigabytes(size) if size else "-" for size in sizes), need.words])
    if rows:
        print_table("Memory of one process, about", MEMORY_HEAD, rows)


def _print_assumptions(recipe: Recipe, estimate: RunEstimate) -> None:
    """What the figures rest on where models are not here, and what it all costs."""
    planning, gpu = recipe.planning, recipe.planning.gpu
    for name, why in estimate.absent.items():
        print_line(f"Not here: {name}: {why}.")
        if name in estimate.unknown:
            print_line(f"Its speed is not known, so its time is not counted; planning.speeds names one for {name}.")
    if estimate.absent:
        print_line(
            f"Assumed for these: {planning.characters_per_token:g} characters a token, and answers of "
            f"{100 * planning.answer_share:.0f} % of their limits (planning)."
        )
        if gpu is not None:
            print_line(
                f"Assumed of {gpu.count} x {gpu.name}: {gpu.tflops:g} TFLOP/s at {100 * planning.reading_share:.0f} %, "
                f"{gpu.bandwidth_gb:,.0f} GB/s at {100 * planning.writing_share:.0f} %, at least "
                f"{planning.step_seconds:g} s for a token of every row (planning). Measure, and set planning.speeds."
            )
    price = estimate.price
    if estimate.absent and gpu is not None and gpu.price_per_hour:
        asking = sum(each.seconds or 0.0 for each in estimate.calls)
        training = sum(each.seconds or 0.0 for each in estimate.learning)
        price += gpu.price_per_hour * (asking + gpu.count * training) / 3600
    if price:
        more = " and more" if None in estimate.times else ""
        print_line(f"It would cost about {price:,.2f}{more} by the prices in the recipe: one GPU asks, all train.")
