"""Opens or creates a run's folder, and does one session of work on it.

A run directory stores everything that it was made with, so its folder is enough to resume. A recipe, overlay or setting
for an existing run is compared with the stored one, and refused where it differs: results of different settings are
never mixed. Arguments are checked before anything heavy is imported, so that a mistake is reported at once.
`carry_out` is what `solon run` and `solon.run` do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from solon.config.launch import launched

if TYPE_CHECKING:
    from solon.config.ray_cluster import RayCluster
    from solon.config.recipe import Recipe
    from solon.runs import RunDirectory
    from solon.runs.progress import Display

Given = Sequence[str | Path]
"""Overlays: built-in names or files."""


def base_recipe(recipe: str | Path | None, reuse: Sequence[Path]) -> str | Path | None:
    """The recipe that was named, else that of the first run that is reused."""
    return str(reuse[0] / "recipe.yaml") if reuse and recipe is None else recipe


def asked_recipe(
    run: Path,
    recipe: Recipe | str | Path | None,
    overlays: Given = (),
    settings: Sequence[str] = (),
    reuse: Sequence[Path] = (),
) -> Recipe:
    """The recipe that was asked for; of a run that exists its own, with what is laid over it.

    Raises RecipeError for an unknown recipe or setting, and when settings are given for a recipe that is an object, and
    what `solon.pipeline.earlier_models` raises.
    """
    asked = _asked(run, recipe, overlays, settings, reuse)
    if asked.warm_start.run is None:
        return asked
    from solon.constitution.reader import load_constitution
    from solon.pipeline.earlier_models import with_earlier_models

    return with_earlier_models(asked, load_constitution(_constitution_file(run, asked)))


def _constitution_file(run: Path, asked: Recipe) -> Path:
    """The stored copy where the run has the constitution of that name; another name is another constitution."""
    from solon.config.builtin import constitution_path
    from solon.runs import RunDirectory

    if (run / "run.json").exists() and asked.constitution == RunDirectory.open(run).recipe.constitution:
        return run / "constitution.yaml"
    return constitution_path(asked.constitution)


def _asked(
    run: Path, recipe: Recipe | str | Path | None, overlays: Given, settings: Sequence[str], reuse: Sequence[Path]
) -> Recipe:
    """The recipe as it is written."""
    from solon.config.loading import load_recipe, refuse_partial_model_change
    from solon.config.recipe import Recipe
    from solon.errors import RecipeError

    if isinstance(recipe, Recipe):
        if overlays or settings:
            raise RecipeError(
                "overlays and settings go over a named recipe, and this one is already loaded",
                place=f"recipe '{recipe.name}'",
                remedy="Give them to load_recipe",
            )
        return recipe
    if (run / "run.json").exists():
        return load_recipe(str(run / "recipe.yaml") if recipe is None else recipe, overlays, settings)
    base = base_recipe(recipe, reuse) or "testbed"
    asked = load_recipe(base, overlays, settings)
    refuse_partial_model_change(base, overlays, settings, asked)
    return asked


def open_or_create(
    run: Path,
    recipe: Recipe | str | Path | None,
    overlays: Given = (),
    settings: Sequence[str] = (),
    reuse: Sequence[Path] = (),
) -> RunDirectory:
    """The run in a folder, new or old; a new one that reuses another starts from that one's recipe.

    Raises RecipeError and ConstitutionError for what is given, and RunError when it differs from what the run was made
    with (naming each setting, old and new).
    """
    from solon.config.builtin import constitution_path
    from solon.constitution.reader import load_constitution
    from solon.pipeline.constitution_needs import refuse_unmet_needs
    from solon.runs import RunDirectory

    if not (run / "run.json").exists():
        asked = asked_recipe(run, recipe, overlays, settings, reuse)
        file = constitution_path(asked.constitution)
        refuse_unmet_needs(asked, load_constitution(file))
        return RunDirectory.create(run, pinned(run, asked), file, reuse)
    stored = RunDirectory.open(run)
    if recipe is None and not overlays and not settings and not reuse:
        return stored
    asked = pinned(run, asked_recipe(run, recipe, overlays, settings))
    return RunDirectory.create(run, asked, _constitution_file(run, asked), reuse)


def pinned(run: Path, recipe: Recipe) -> Recipe:
    """The recipe with the commits of models of the hub, those that the run has already where no other is named.

    Raises ModelError for a model that is not cached and cannot be fetched.
    """
    from solon.config.model_pins import with_pinned_models
    from solon.runs import RunDirectory

    return with_pinned_models(recipe, RunDirectory.open(run).recipe if (run / "run.json").exists() else None)


def refuse_unknown_stage(name: str | None, recipe: Recipe) -> None:
    """Raises RecipeError, with the nearest name, for a stage that a run of the recipe does not have."""
    from solon.config.located_yaml import suggestion
    from solon.errors import RecipeError
    from solon.stages.plan import names_of

    stages = names_of(recipe)
    if name is not None and name not in stages:
        raise RecipeError("no such stage", place=f"--until {name}", remedy=suggestion(name, stages))


def carry_out(
    run: Path,
    recipe: Recipe | str | Path | None,
    display: Display,
    *,
    overlays: Given = (),
    settings: Sequence[str] = (),
    until: str | None = None,
    reuse: Sequence[Path] = (),
    on: RayCluster | None = None,
) -> RunDirectory:
    """One session of a run: create it or open it, do what is not done yet up to stage `until`, and return it.

    Models are asked on the cluster `on`, in this process when None. Of several processes that a launcher started, the
    main one does this and the others help it. Raises what `open_or_create`, the preflight and the stages raise, and
    Interrupted when it was asked to stop.
    """
    if launched()[0]:
        return _help_with(run, until)
    asked = asked_recipe(run, recipe, overlays, settings, reuse)
    refuse_unknown_stage(until, asked)
    new = not (run / "run.json").exists()
    # Before the folder is made: a call that is refused leaves nothing that would refuse the corrected one.
    notes = preflight_notes(asked, None, until, on) if new else ()
    directory = open_or_create(run, recipe, overlays, settings, reuse)
    from solon.pipeline.settled import is_settled

    if launched()[1] == 1 and not directory.newly_decided and is_settled(directory):
        _show_kept(directory, display)
    else:
        notes = notes if new else preflight_notes(directory.recipe, directory, until, on)
        go_on(directory, notes, until, new, display, on)
    return directory


def preflight_notes(
    recipe: Recipe, directory: RunDirectory | None, until: str | None, on: RayCluster | None = None
) -> tuple[str, ...]:
    """Notes before a run begins or resumes; raises, before any token is spent, for what would stop it later."""
    from solon.config.builtin import constitution_path
    from solon.pipeline.memory_needs import ASKING
    from solon.pipeline.preflight import preflight

    file = directory.path / "constitution.yaml" if directory else constitution_path(recipe.constitution)
    finished = [artefact.name for artefact in directory.artefacts()] if directory else []
    return preflight(recipe, file, finished, until, () if on is None else (ASKING,))


def go_on(
    directory: RunDirectory,
    notes: Sequence[str],
    until: str | None,
    new: bool,
    display: Display,
    on: RayCluster | None = None,
) -> None:
    """Do what a run has not done yet, up to a stage; `notes` are shown first."""
    from solon.engines.cluster.ray_place import place_of
    from solon.pipeline.run_stages import run_stages
    from solon.pipeline.settled import settle
    from solon.runs.cleanup import locked_run
    from solon.stages.plan import MEASURE
    from solon.training.distributed.launched import joined

    with joined() as processes, locked_run(directory, new=new), place_of(on, directory.recipe.engine) as place:
        for note in (*notes, *place.remarks):
            display.remark(note)
        processes.broadcast(True)  # the run is there and ours
        read = run_stages(directory, display, until or MEASURE, processes=processes, place=place)
        if read is not None:
            settle(directory, read)


def _show_kept(directory: RunDirectory, display: Display) -> None:
    """The stages of a finished run, as if they had been gone through."""
    from solon.stages.plan import names_of

    stages = names_of(directory.recipe)
    kept = {artefact.name: artefact.manifest.rows for artefact in directory.artefacts()}
    for number, name in enumerate(stages, start=1):
        display.stage_kept(number, name, len(stages), kept[name])


def _help_with(run: Path, until: str | None) -> RunDirectory:
    """Take this process's share of a run that the main process of the same launch makes or goes on with."""
    from solon.pipeline.run_stages import run_stages
    from solon.runs import RunDirectory
    from solon.runs.progress import Silent
    from solon.stages.plan import MEASURE
    from solon.training.distributed.launched import joined

    with joined() as processes:
        processes.broadcast(True)
        directory = RunDirectory.open(run)
        with directory.following():
            run_stages(directory, Silent(), until or MEASURE, processes=processes)
    return directory
