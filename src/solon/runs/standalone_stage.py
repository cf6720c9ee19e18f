"""Runs one stage in a folder of its own, outside of any run, with the same guarantees.

The folder has the files of a stage's folder in a run, and a lock. A second call with the same key continues the work,
or reads the finished artefact. Another key is refused, with the names of the settings that differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from solon.errors import RunError, SolonError
from solon.runs.artefact import Artefact
from solon.runs.cleanup import remove_lock_folder, removing_unused
from solon.runs.directory import begin_folder, finished_folder
from solon.runs.files import made_by_writing, refuse_special_files, reporting_write_errors, sweep, sync
from solon.runs.interrupt import StopRequest, catching_signals
from solon.runs.lock import LOCK, SESSION, locked
from solon.runs.manifest import BEGUN, MANIFEST
from solon.runs.stage_folder import Report, StageFolder, clear_work, ignore


def run_standalone(
    folder: Path,
    name: str,
    key: Mapping[str, object],
    work: Callable[[StageFolder], Artefact],
    report: Report = ignore,
    made_with: Mapping[str, object] | None = None,
) -> Artefact:
    """The artefact of a stage in `folder`: the finished one, or the result of `work`.

    `made_with` has what changes rows by rounding only. Raises RunError when the folder has other content, a link, or a
    stage with another key, and when another process works there.
    """
    if folder.exists() and not _is_ours(folder):
        raise RunError("the folder is not empty and is not a stage", place=str(folder), remedy="Name a new folder")
    refuse_special_files(folder)
    with reporting_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        sync(folder.parent)
    stop, new = StopRequest(), not any((folder / each).exists() for each in (BEGUN, MANIFEST))
    try:
        with locked(folder), catching_signals(stop):
            sweep(folder)
            finished = finished_folder(folder, key)
            if finished is None:
                with removing_unused(folder, new=new):
                    out = begin_folder(folder, (1, name), key, report, stop, made_with)
                    with closing(out.journal):
                        return work(out)
            clear_work(folder)
            return finished
    except SolonError:
        if new:
            remove_lock_folder(folder)
        raise


def _is_ours(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    names = {entry.name for entry in folder.iterdir()}
    written = {made_by_writing(name) or name for name in names}
    return bool(names & {BEGUN, MANIFEST}) or written <= {LOCK, SESSION, BEGUN}
