"""`solon constitution check` and `new`: a file of rules looked at as a whole, and one to begin with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from solon.config.recipe import Recipe


@click.command(
    epilog="""\b
Examples:
  solon constitution check my-rules.yaml
  solon constitution check my-rules.yaml --recipe real
  solon constitution check testbed --recipe testbed --set feedback.few_shot=4
"""
)
@click.argument("file", metavar="FILE")
@click.option(
    "--recipe", metavar="NAME_OR_FILE", help="Also check what a run by this recipe wants of the constitution."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="One setting over the recipe.")
def check(file: str, recipe: str | None, settings: tuple[str, ...]) -> None:
    """Read FILE and say what it holds; every mistake is named with its line and key.

    With --recipe: whether principles, axes and worked examples are there that a run asks for, and which rules the
    bundled models cannot read where the recipe asks them.
    """
    from solon import api

    asked = api.load_recipe(recipe or "testbed", (), settings) if recipe or settings else None
    found = api.check_constitution(file, recipe=asked)
    loaded = found.constitution
    if len(found.faults) == 1:
        raise found.faults[0]
    if found.faults or loaded is None:
        for fault in found.faults:
            _say(f"Error: {fault}", err=True)
        _say(f"{len(found.faults)} faults in {file}", err=True)
        click.get_current_context().exit(1)
    examples = len(loaded.critique_examples) + len(loaded.comparison_examples) + len(loaded.reasoned_examples)
    _say(
        f"{file}: constitution '{loaded.name}' is well formed: {len(loaded.revision)} revision and "
        f"{len(loaded.preference)} preference principles, {examples} worked examples"
    )
    if asked is not None:
        _say("It has all that the recipe asks for")
    for line in found.warnings:
        _say(line, err=True)


@click.command(
    epilog="""\b
Examples:
  solon constitution new my-rules.yaml
  solon constitution new rules/house.yaml
"""
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
def new(file: Path) -> None:
    """Write a small constitution to fill in: every key with a remark, and worked examples of each kind.

    FILE must not exist.
    """
    from solon.config.builtin import DATA
    from solon.errors import InputError
    from solon.runs.files import reporting_write_errors, write_atomically

    if file.exists() or file.is_symlink():
        raise InputError("the file exists", place=str(file), remedy="Name another, or remove it")
    with reporting_write_errors(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, (DATA / "templates" / "constitution.yaml").read_text(encoding="utf-8"))
    _say(f"Wrote {file}. When it is filled in: solon constitution check {shlex.quote(str(file))}")


def warn_of_unread_rules(recipe: Recipe) -> None:
    """Name the rules of a recipe's constitution that its models cannot read, if nothing worse is wrong with them."""
    from solon.config.builtin import constitution_path
    from solon.constitution.reader import load_constitution
    from solon.pipeline.constitution_needs import askers, unmet_needs, unread_rules

    loaded = load_constitution(constitution_path(recipe.constitution))
    for error in unmet_needs(recipe, loaded):
        raise error
    for line in unread_rules(askers(recipe), loaded):
        _say(line, err=True)


def _say(line: str, *, err: bool = False) -> None:
    from solon.cli.terminal import plain

    click.echo(plain(line, lines=False), err=err)
