"""Whether a finished run is as it was when it was last found finished, known in milliseconds.

Checking all stages of a finished run loads torch and a model, only to find that nothing is to do. After one such check
`settled.json` in the run keeps a fingerprint of everything that the answer depends on: recipe and constitution, and by
name, size and time of change Solon's own files, those of plug-ins and of the stages, and all files and folders of which
that check took a hash: models, prompts, comparisons, questions. The list of them comes from the check itself, so that
it has every input of every stage. While the fingerprint is the same the run is shown as it is; otherwise all stages are
checked, and report what changed.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from solon.config.plugins import GRADERS, MEASURES
from solon.config.version import __version__
from solon.digest import Stamp, digest, digest_file, stamp_of
from solon.errors import SolonError
from solon.runs import RunDirectory
from solon.runs.files import write_atomically
from solon.stages.plan import names_of, plugins_of

SETTLED = "settled.json"


def is_settled(run: RunDirectory) -> bool:
    """Whether every stage is finished and nothing changed since that was last found."""
    try:
        known = json.loads((run.path / SETTLED).read_text(encoding="utf-8"))
        read = {Path(name): stamp_of(Path(name)) for name in known["read"]}
        return _finished(run) and known["fingerprint"] == _fingerprint(run, read)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SolonError):
        return False


def settle(run: RunDirectory, read: Mapping[Path, Stamp]) -> None:
    """Note that the run was found finished just now, if it is; raises RunError when the disk refuses.

    `read` are the files and folders that the check read, as they were then (`solon.pipeline.run_stages.run_stages`).
    """
    if _finished(run):
        known = {"fingerprint": _fingerprint(run, read), "read": [str(path) for path in read]}
        write_atomically(run.path / SETTLED, json.dumps(known) + "\n")


def _finished(run: RunDirectory) -> bool:
    return {artefact.name for artefact in run.artefacts()} >= set(names_of(run.recipe))


def _fingerprint(run: RunDirectory, read: Mapping[Path, Stamp]) -> str:
    """A digest over the names, sizes and times of all files."""
    own = [digest_file(run.path / name) for name in ("recipe.yaml", "constitution.yaml", "run.json")]
    stages = [artefact.path for artefact in run.artefacts()]
    package = Path(__file__).parents[1]
    plugins = [Path(inspect.getfile(type(stage))) for stage in plugins_of(run.recipe)]
    roots = [*stages, package, *plugins]
    # A name that is relative to the working folder may mean another file later.
    inputs = [(str(path.resolve()), stamp) for path, stamp in read.items()]
    return digest(__version__, own, list(_raters()), [list(_files(root)) for root in roots], inputs)


def _raters() -> Iterator[tuple[str, str, str, list[tuple[str, int, int]]]]:
    """The graders and measures that packages register, each with the files of its package; none is imported."""
    for entry in (*entry_points(group=GRADERS), *entry_points(group=MEASURES)):
        roots: list[str] = []
        with suppress(ImportError, ValueError):  # a package that is not there any more
            spec = find_spec(entry.module.partition(".")[0])
            roots = list(spec.submodule_search_locations or [spec.origin or ""]) if spec is not None else []
        yield entry.group, entry.name, entry.value, [file for root in roots for file in _files(Path(root))]


def _files(root: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of change of a file, or of every file of a folder."""
    files = sorted(root.rglob("*")) if root.is_dir() else [root]
    for file in files:
        if file.is_file() and file.suffix != ".pyc":
            about = file.stat()
            yield str(file.resolve()), about.st_size, about.st_mtime_ns
