"""Arguments and options that several commands have."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from click.core import ParameterSource
from click.types import FloatParamType

if TYPE_CHECKING:
    from solon.config.ray_cluster import RayCluster

F = TypeVar("F", bound=Callable[..., Any])

ACCEPT = "judge_check.weak_judge=accept"
"""The setting behind `--accept-weak-judge`."""
PATH = click.Path(path_type=Path)
NEW_FILE = click.Path(path_type=Path, dir_okay=False)
NEW_FOLDER = click.Path(path_type=Path, file_okay=False)


class FiniteFloat(FloatParamType):
    """Any number; click takes `nan` and `inf` for some too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; a usage error for one that is not finite."""
        return _finite(super().convert(value, param, ctx), param, ctx)


class FiniteRange(click.FloatRange):
    """A number within bounds; click takes `nan` for one in every range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; a usage error for one that is not finite or out of bounds."""
        return _finite(super().convert(value, param, ctx), param, ctx)


def _finite(number: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
    if not math.isfinite(number):
        raise click.BadParameter(f"{number} is not a finite number.", ctx, param)
    return number


RUN = click.argument("run", type=PATH)
OVERLAYS = click.option(
    "--overlay",
    "overlays",
    multiple=True,
    metavar="NAME_OR_FILE",
    help="Settings that replace the recipe's: a YAML file, or a name from `solon show recipes`; may be repeated.",
)
QUIET = click.option("--quiet", "-q", is_flag=True, help="Show no progress, only the result.")
COLUMNS = click.option(
    "--columns",
    multiple=True,
    metavar="NAME=COLUMN",
    help="Column names in your files, e.g. prompt=question,chosen=good.",
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


def weak_judge_option(command: F) -> F:
    """`--accept-weak-judge`, which adds its setting to the command's `settings`."""

    @wraps(command)
    def with_setting(*, settings: tuple[str, ...], accept_weak_judge: bool, **others: Any) -> Any:
        return command(settings=(*settings, ACCEPT) if accept_weak_judge else settings, **others)

    help_text = "Label even if the judge is not better than chance on known comparisons. The setting is kept."
    found: F = click.option("--accept-weak-judge", is_flag=True, help=help_text)(cast("F", with_setting))
    return found


def on_option(command: F) -> F:
    """`--on ray[:ADDRESS]` with the actors' number and resources; the command gets the cluster, or None, as `on`."""

    @wraps(command)
    def with_cluster(*, on: str | None, actors: int, actor_cpus: float, actor_gpus: float, **others: Any) -> Any:
        if on is None:
            _refuse_given("actors", "actor_cpus", "actor_gpus")
        return command(on=_cluster(on, actors, actor_cpus, actor_gpus), **others)

    each = (
        click.option("--on", metavar="PLACE", help="Where models are asked: ray, or ray:ADDRESS. [default: here]"),
        click.option("--actors", type=click.IntRange(1), default=2, show_default=True, help="Actors on Ray."),
        click.option(
            "--actor-cpus",
            type=FiniteRange(0),
            default=1,
            show_default=True,
            help="CPUs of each actor, and threads.",
        ),
        click.option("--actor-gpus", type=FiniteRange(0), default=0, show_default=True, help="GPUs of each actor."),
    )
    decorated: Any = with_cluster
    for option in reversed(each):
        decorated = option(decorated)
    found: F = decorated
    return found


def _refuse_given(*names: str) -> None:
    """Raise UsageError for an option about actors that is given although no model is asked on a cluster."""
    context = click.get_current_context()
    given = [name for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        shown = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"{shown} {'counts' if len(given) == 1 else 'count'} only with --on ray")


def _cluster(on: str | None, actors: int, cpus: float, gpus: float) -> RayCluster | None:
    from solon.config.ray_cluster import RayCluster

    return None if on is None else RayCluster.parse(on, actors=actors, cpus=cpus, gpus=gpus)
