"""Plug-ins: objects that other packages register as entry points.

A package registers an object under a group and a name in its own metadata, for example in its pyproject.toml:

    [project.entry-points."solon.engines"]
    vllm = "my_package.engine:Opener"

An object is imported when its name is used. Solon's own parts are tables in the code, so that they work without
installed metadata; a plug-in never replaces one of them.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points

from solon.config.located_yaml import nearest
from solon.errors import RecipeError

ENGINES = "solon.engines"
"""Open other kinds of models: `solon.engines.registry.Opener`."""
GRADERS = "solon.graders"
"""Grade replies: `solon.evals.grading.Grader`."""
MEASURES = "solon.measures"
"""Measure graded replies: `solon.evals.measures.Measure`."""
STAGES = "solon.stages"
"""Stages of a run: `solon.stages.stage.Stage`."""


def registered(group: str, built_in: Collection[str] = ()) -> dict[str, EntryPoint]:
    """The entry points of a group by name.

    Raises RecipeError when two packages register different objects under one name, or one has the name of a built-in
    part.
    """
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        if entry.name in built_in:
            raise RecipeError(
                f"'{entry.name}' is built in, and the package {_package(entry)} registers it again",
                place=f"entry points of {group}",
                remedy="Uninstall the package, or register its part under another name",
            )
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise RecipeError(
                f"two packages register '{entry.name}': {_package(other)} and {_package(entry)}",
                place=f"entry points of {group}",
                remedy="Uninstall one of them",
            )
    return found


def load_registered(
    group: str, name: str, built_in: Collection[str] = (), *, place: str = "", arguments: tuple[object, ...] = ()
) -> object:
    """The object that a package registers under a name; a class is called with `arguments`.

    `place` is the setting that names it. Raises RecipeError for an unknown name (with all known names), and for an
    object that cannot be imported.
    """
    found = registered(group, built_in)
    if name not in found:
        known = [*built_in, *sorted(found)]
        close = nearest(name, known)
        hint = f"Did you mean '{close}'? " if close else ""
        raise RecipeError(
            f"no plug-in '{name}' in {group}",
            place=place or name,
            remedy=f"{hint}Known: {', '.join(known) or 'none'}",
        )
    try:
        loaded = found[name].load()
        return loaded(*arguments) if isinstance(loaded, type) else loaded
    except Exception as error:  # another package's module may raise anything
        raise RecipeError(
            f"the plug-in '{name}' of {_package(found[name])} cannot be loaded: {type(error).__name__}: {error}",
            place=place or found[name].value,
            remedy="Install the package again, or uninstall it",
        ) from error


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
