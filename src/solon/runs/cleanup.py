"""A run that was refused before anything was done leaves nothing behind.

A first command may fail at a file or a model that the run needs. Were the folder kept, it would hold the settings of
that command, and refuse the corrected one for its other settings. Prompts that were read count for nothing: they are
read again in a moment. An answer of a model counts, so that none is ever asked for twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from solon.errors import SolonError
from solon.runs.directory import CONSTITUTION, RECIPE, RUN, STAGE, RunDirectory
from solon.runs.lock import LOCK, SESSION
from solon.runs.manifest import JOURNAL
from solon.runs.response_cache import ANSWERS, response_cache_in

_READ = "01-"
"""How the folder of the stage begins that reads the prompts."""


@contextmanager
def locked_run(run: RunDirectory, *, new: bool) -> Iterator[None]:
    """Hold the run's lock; a run that is `new` and fails with a SolonError before anything was done is removed.

    Raises as `RunDirectory.lock` does.
    """
    removed = False
    try:
        with run.lock():
            try:
                yield
            except SolonError:
                removed = new and _nothing_done(run)
                if removed:
                    _remove(run.path)
                raise
    finally:
        if removed:
            remove_lock_folder(run.path)


def _nothing_done(run: RunDirectory) -> bool:
    """Whether no model answered and no stage but that of the prompts is finished."""
    if _answered(run.path):
        return False
    return all(artefact.path.name.startswith(_READ) for artefact in run.artefacts())


def _answered(folder: Path) -> bool:
    with response_cache_in(folder) as answers:
        return any(usage.answers for usage in answers.usage().values())


@contextmanager
def removing_unused(folder: Path, *, new: bool) -> Iterator[None]:
    """The same for the folder of a stage outside any run, whose lock is held; the lock's own file stays.

    What counts as done is an answer, a line in the journal or a checkpoint.
    """
    try:
        yield
    except SolonError:
        journal = folder / JOURNAL
        begun = (journal.exists() and journal.stat().st_size > 0) or any(folder.glob("checkpoints/*"))
        if new and not begun and not _answered(folder):
            for entry in folder.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry, ignore_errors=True)
                elif entry.name != LOCK:
                    entry.unlink()
        raise


def remove_lock_folder(folder: Path) -> None:
    """Remove a folder that holds nothing but the file of a lock which nobody holds."""
    with suppress(OSError):
        if [entry.name for entry in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()


def _remove(folder: Path) -> None:
    """Remove the files of a run, all but the lock that is held; `run.json` goes first: then it is no run any more."""
    for name in (RUN, RECIPE, CONSTITUTION, ANSWERS, SESSION):
        (folder / name).unlink(missing_ok=True)
    for entry in folder.iterdir():
        if STAGE.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
