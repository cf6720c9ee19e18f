"""`solon constitution check` and `new`: report all faults of a constitution, and write a template of one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from solon.cli.options import NEW_FILE, recipe_option, settings_option
from solon.cli.terminal import print_line

if TYPE_CHECKING:
    from solon.config.recipe import Recipe


@click.command(
    epilog="""\b
Examples:
  solon constitution check my-rules.yaml
  solon constitution check my-rules.yaml --recipe own
  solon constitution check harmlessness --recipe own --set feedback.form=reasoned
"""
)
@click.argument("file", metavar="FILE")
@recipe_option("Also check what a run of this recipe needs from the constitution.")
@settings_option("One setting of the recipe.")
def check(file: str, recipe: str | None, settings: tuple[str, ...]) -> None:
    """Check FILE and name every fault with its line and key.

    With --recipe it also checks that the principles, axes and worked examples that a run needs are there, and names
    the principles that the bundled models cannot read, if the recipe uses these models.
    """
    from solon import api

    chosen = api.load_recipe(recipe or "testbed", (), settings) if recipe or settings else None
    result = api.check_constitution(file, recipe=chosen)
    loaded = result.constitution
    if len(result.faults) == 1:
        raise result.faults[0]
    if result.faults or loaded is None:
        for fault in result.faults:
            print_line(f"Error: {fault}", err=True)
        print_line(f"{len(result.faults)} faults in {file}", err=True)
        click.get_current_context().exit(1)
    examples = len(loaded.critique_examples) + len(loaded.comparison_examples) + len(loaded.reasoned_examples)
    print_line(
        f"{file}: constitution '{loaded.name}' is well formed: {len(loaded.revision)} revision and "
        f"{len(loaded.preference)} preference principles, {examples} worked examples"
    )
    if chosen is not None:
        print_line("It has everything that the recipe needs")
    for line in result.warnings:
        print_line(line, err=True)


@click.command(
    epilog="""\b
Examples:
  solon constitution new my-rules.yaml
  solon constitution new rules/house.yaml
"""
)
@click.argument("file", type=NEW_FILE, metavar="FILE")
def new(file: Path) -> None:
    """Write a small constitution to fill in.

    FILE must not exist. It gets every key with a comment, and worked examples of each kind.
    """
    from solon.config.builtin import DATA
    from solon.errors import InputError
    from solon.runs.files import reporting_write_errors, write_atomically

    if file.exists() or file.is_symlink():
        raise InputError("the file exists", place=str(file), remedy="Name another, or remove it")
    with reporting_write_errors(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, (DATA / "templates" / "constitution.yaml").read_text(encoding="utf-8"))
    print_line(f"Wrote {file}. When it is filled in: solon constitution check {shlex.quote(str(file))}")


def warn_of_unread_rules(recipe: Recipe) -> None:
    """Print the principles that a recipe's models cannot read; raises what the recipe misses in its constitution."""
    from solon.config.builtin import constitution_path
    from solon.constitution.reader import load_constitution
    from solon.pipeline.constitution_needs import askers, refuse_unmet_needs, unread_rules

    loaded = load_constitution(constitution_path(recipe.constitution))
    refuse_unmet_needs(recipe, loaded)
    for line in unread_rules(askers(recipe), loaded):
        print_line(line, err=True)
