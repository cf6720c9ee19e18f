"""Arguments and options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
NEW_FILE = click.Path(path_type=Path, dir_okay=False)
NEW_FOLDER = click.Path(path_type=Path, file_okay=False)

RUN = click.argument("run", type=PATH)
OVERLAYS = click.option(
    "--overlay", "overlays", multiple=True, metavar="FILE", help="Settings that replace the recipe's; may be repeated."
)
QUIET = click.option("--quiet", "-q", is_flag=True, help="Show no progress, only the result.")
COLUMNS = click.option(
    "--columns", multiple=True, metavar="NAME=COLUMN", help="What files call columns: prompt=question,chosen=good."
)
THREADS = click.option("--threads", type=click.IntRange(min=1), help="Threads of torch. [default: all cores]")


def recipe_option(help_text: str, default: str | None = None) -> Callable[[F], F]:
    """`--recipe`, with its default in the help when there is one."""
    return click.option(
        "--recipe", metavar="NAME_OR_FILE", default=default, show_default=default is not None, help=help_text
    )


def settings_option(help_text: str) -> Callable[[F], F]:
    """`--set KEY=VALUE`, which may be repeated."""
    return click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help=help_text)
