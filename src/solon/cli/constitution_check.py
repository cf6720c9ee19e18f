"""`solon constitution check` and `solon constitution new`: a file of rules looked at as a whole, and one to begin with.

Rules that the bundled models cannot read are told here and not in the method, which knows nothing of the testbed.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from solon.config.recipe import Recipe
    from solon.constitution.constitution import Constitution
    from solon.errors import SolonError

TESTBED = "testbed:"


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
    from solon.config.builtin import constitution_path
    from solon.config.loading import load_recipe
    from solon.constitution.reader import check_constitution, load_constitution

    asked = load_recipe(recipe or "testbed", (), settings) if recipe or settings else None
    path = constitution_path(file)
    _refuse(check_constitution(path), file)
    loaded = load_constitution(path)
    if asked is not None:
        from solon.pipeline.constitution_needs import unmet_needs

        _refuse(unmet_needs(asked, loaded), file)
    examples = len(loaded.critique_examples) + len(loaded.comparison_examples) + len(loaded.reasoned_examples)
    _say(
        f"{file}: constitution '{loaded.name}' is well formed: {len(loaded.revision)} revision and "
        f"{len(loaded.preference)} preference principles, {examples} worked examples"
    )
    if asked is not None:
        _say("It has all that the recipe asks for")
        for line in unread_rules(_askers(asked), loaded):
            _say(line, err=True)


def _refuse(faults: Sequence[SolonError], file: str) -> None:
    """Raise the one fault there is, or print them all and exit."""
    if len(faults) == 1:
        raise faults[0]
    if faults:
        for fault in faults:
            _say(f"Error: {fault}", err=True)
        _say(f"{len(faults)} faults in {file}", err=True)
        click.get_current_context().exit(1)


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
    from solon.runs.files import telling_of, write_atomically

    if file.exists() or file.is_symlink():
        raise InputError("the file exists", place=str(file), remedy="Name another, or remove it")
    with telling_of(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, (DATA / "templates" / "constitution.yaml").read_text(encoding="utf-8"))
    _say(f"Wrote {file}. When it is filled in: solon constitution check {shlex.quote(str(file))}")


def look_at_rules(recipe: Recipe, file: Path) -> None:
    """Raise the first thing that a new run lacks in its constitution, and warn of rules that its models cannot read."""
    from solon.constitution.reader import load_constitution
    from solon.pipeline.constitution_needs import unmet_needs

    loaded = load_constitution(file)
    for error in unmet_needs(recipe, loaded):
        raise error
    for line in unread_rules(_askers(recipe), loaded):
        _say(line, err=True)


def _askers(recipe: Recipe) -> tuple[str | None, ...]:
    models = recipe.models
    return (models.assistant, models.critic, models.reviser, *models.judges)


def unread_rules(models: Sequence[str | None], constitution: Constitution) -> list[str]:
    """Warnings about rules that the bundled models cannot read, where one of them is among the `models` by name."""
    from solon.config.builtin import constitution_path
    from solon.constitution.reader import load_constitution

    if not any(name and name.startswith(TESTBED) for name in models):
        return []
    if constitution.hash == load_constitution(constitution_path("testbed")).hash:
        return []
    from solon.testbed.principle_language import is_readable

    kinds = {"critique_request": "critique", "revision_request": "revision", "instruction": "comparison"}
    unread = [
        f"{section} '{rule.id}'"
        for section, rules in (("revision", constitution.revision), ("preference", constitution.preference))
        for rule in rules
        if not all(is_readable(kind, getattr(rule, key)) for key, kind in kinds.items() if hasattr(rule, key))
    ]
    if not unread:
        return []
    total = len(constitution.revision) + len(constitution.preference)
    return [
        f"Warning: {len(unread)} of {total} rules are in words that the bundled models cannot read, and may do "
        f"nothing there: {', '.join(unread)}. What they read is listed by: solon testbed words"
    ]


def _say(line: str, *, err: bool = False) -> None:
    from solon.cli.terminal import plain

    click.echo(plain(line, lines=False), err=err)
