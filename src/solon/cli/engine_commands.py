"""`solon engines`: check a model before a run asks it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from solon.cli.options import recipe_option, settings_option
from solon.cli.terminal import clip, print_line, print_table

if TYPE_CHECKING:
    from solon.evals.engine_check import EngineReport


@click.group(
    epilog="""\b
Examples:
  solon engines check testbed:assistant
  solon engines check openai:my-model@http://127.0.0.1:8000
"""
)
def engines() -> None:
    """Check that a model answers."""


@engines.command(
    epilog="""\b
Examples:
  solon engines check testbed:assistant
  solon engines check openai:my-model@http://127.0.0.1:8000
  solon engines check openai:my-model@http://gpu-1:8000,http://gpu-2:8000 --set engine.server.concurrency=64
  solon engines check openai:base@http://127.0.0.1:8000 --set engine.rendering=transcript --json
"""
)
@click.argument("spec", metavar="MODEL")
@recipe_option("The recipe whose settings `engine` count.", default="own")
@settings_option("One setting, e.g. engine.window=8192.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON.")
def check(spec: str, recipe: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Send a model a completion and an A/B question, and report what it does not support.

    MODEL is a folder, testbed:assistant or openai:MODEL@URL. A few short questions are asked. The exit code is 1 when a
    run could not work with the model.
    """
    from solon.config.loading import load_recipe
    from solon.config.model_spec import ModelSpec, located
    from solon.engines.registry import open_engine
    from solon.evals.engine_check import check_engine

    named = located(ModelSpec.parse(spec))
    chosen = load_recipe(recipe, (), settings)
    report = check_engine(open_engine(named, chosen.engine), chosen.feedback.min_letter_mass)
    if as_json:
        click.echo(json.dumps({**asdict(report), "usable": report.usable}, indent=2))
    else:
        _print(report)
    if not report.usable:
        click.get_current_context().exit(1)


def _print(report: EngineReport) -> None:
    chosen = "none" if report.choice is None else f"{report.choice:.3f} for the right one of two options"
    rows = [
        ("Window", f"{report.window} tokens"),
        *([("Number format", report.dtype)] if report.dtype else []),
        ("Prompts as", report.rendering),
        ("Text", f"{clip(report.text, 60)} ({report.finish}, {report.seconds:.2f} s alone)"),
        ("Speed", f"{report.tokens_per_second:.0f} tokens/s, several texts at once"),
        ("Options by", report.choosing),
        ("Choice", f"{chosen} ({report.choice_note})"),
        ("Seeds", report.seeds.value),
    ]
    print_table(report.name, ("", "Found"), rows)
    for line in report.remarks:
        print_line(line)
    if report.lacks:
        print_table("Missing", ("What", "What to do"), [tuple(each) for each in report.lacks])
    print_line("A run can use this model." if report.usable else "A run cannot use this model.")
