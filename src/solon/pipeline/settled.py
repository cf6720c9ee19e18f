"""Whether a finished run is as it was when it was last found finished, known in milliseconds.

Checking all stages of a finished run loads torch and a model, only to find that nothing is to do. After one such check
`settled.json` in the run keeps a fingerprint of everything that the answer depends on: recipe and constitution, and by
name, size and time of change Solon's own files, those of plug-ins and of the stages, and the models, prompts and
comparisons that were read. While the fingerprint is the same the run is shown as it is; otherwise all stages are
checked, and report what changed.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path

from solon.config.addresses import is_address
from solon.config.builtin import source_path
from solon.config.model_spec import ModelSpec, folder_of
from solon.config.recipe import Recipe
from solon.config.version import __version__
from solon.digest import digest, digest_file
from solon.errors import SolonError
from solon.runs import RunDirectory
from solon.runs.files import write_atomically
from solon.sources.entries import located
from solon.sources.prompt_sources import online_sources, sources
from solon.stages.plan import names_of, plugins_of

SETTLED = "settled.json"


def is_settled(run: RunDirectory) -> bool:
    """Whether every stage is finished and nothing changed since that was last found."""
    try:
        known = json.loads((run.path / SETTLED).read_text(encoding="utf-8"))
        return bool(_finished(run) and known == {"fingerprint": _fingerprint(run)})
    except (OSError, ValueError, SolonError):
        return False


def settle(run: RunDirectory) -> None:
    """Note that the run was found finished just now, if it is; raises RunError when the disk refuses."""
    if _finished(run) and (found := _fingerprint(run)) is not None:
        write_atomically(run.path / SETTLED, json.dumps({"fingerprint": found}) + "\n")


def _finished(run: RunDirectory) -> bool:
    return {artefact.name for artefact in run.artefacts()} >= set(names_of(run.recipe))


def _fingerprint(run: RunDirectory) -> str | None:
    """A digest over the names, sizes and times of all files; None when an input is no file of this machine."""
    inputs = list(_inputs(run.recipe))
    if None in inputs:
        return None
    own = [digest_file(run.path / name) for name in ("recipe.yaml", "constitution.yaml", "run.json")]
    stages = [artefact.path for artefact in run.artefacts()]
    package = Path(__file__).parents[1]
    plugins = [Path(inspect.getfile(type(stage))) for stage in plugins_of(run.recipe)]
    roots = [*stages, package, *plugins, *(path for path in inputs if path is not None)]
    return digest(__version__, own, [list(_files(root)) for root in roots])


def _inputs(recipe: Recipe) -> Iterator[Path | None]:
    """The models and files that a recipe names; None for a dataset of a hub or a plug-in's model."""
    models, settings = recipe.models, recipe.rl
    named = [models.pretrained, models.assistant, models.critic, models.reviser, *models.judges]
    named += [models.preference, models.policy, settings.scorer, settings.held_out_scorer]
    yield from (folder_of(ModelSpec.parse(name)) for name in named if name and not is_address(name))
    for source in (*sources(recipe.prompts, recipe.measure), *online_sources(recipe.online)):
        for found in map(located, source.names):
            yield found if isinstance(found, Path) else None
    people = (recipe.preference.human_helpfulness, recipe.preference.human_harmlessness)
    yield from (source_path(name) for name in people if name)


def _files(root: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of change of a file, or of every file of a folder."""
    files = sorted(root.rglob("*")) if root.is_dir() else [root]
    for file in files:
        if file.is_file() and file.suffix != ".pyc":
            about = file.stat()
            yield str(file.resolve()), about.st_size, about.st_mtime_ns
