"""`solon constitution`: work on a constitution's file."""

from __future__ import annotations

import click


@click.group(
    epilog="""\b
Examples:
  solon constitution check my-rules.yaml
"""
)
def constitution() -> None:
    """Check a constitution file."""


@constitution.command(
    epilog="""\b
Examples:
  solon constitution check my-rules.yaml
  solon constitution check testbed
"""
)
@click.argument("file", metavar="FILE")
def check(file: str) -> None:
    """Read FILE and say what it holds; a mistake is named with its line and key."""
    from solon.builtin import constitution_path
    from solon.cli.terminal import plain
    from solon.constitution import load_constitution

    loaded = load_constitution(constitution_path(file))
    examples = len(loaded.critique_examples) + len(loaded.comparison_examples) + len(loaded.reasoned_examples)
    click.echo(
        plain(
            f"{file}: constitution '{loaded.name}' is well formed: {len(loaded.revision)} revision and "
            f"{len(loaded.preference)} preference principles, {examples} worked examples",
            lines=False,
        )
    )
