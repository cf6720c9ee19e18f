"""Removes the folder of a new run that fails before it has done any work.

The first command of a run may fail because of a missing file or model. If the folder stayed, it would have the settings
of that command and refuse the corrected one. Reading prompts does not count as work, because it takes a moment. A
model's answer counts, so that no model is asked twice.
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
"""The beginning of the name of the folder of the stage that reads prompts."""


@contextmanager
def locked_run(run: RunDirectory, *, new: bool) -> Iterator[None]:
    """Lock the run, and remove it when it is `new` and fails with a SolonError before it has done any work.

    Raises as `RunDirectory.lock` does.
    """
    removed = False
    try:
        with run.lock():
            try:
                yield
            except SolonError:
                removed = new and _is_unused(run)
                if removed:
                    _remove(run.path)
                raise
    finally:
        if removed:
            remove_lock_folder(run.path)


def _is_unused(run: RunDirectory) -> bool:
    """Whether no model answered, and only the stage that reads prompts may be finished."""
    return not _answered(run.path) and all(each.path.name.startswith(_READ) for each in run.artefacts())


def _answered(folder: Path) -> bool:
    with response_cache_in(folder) as answers:
        return any(usage.answers for usage in answers.usage().values())


@contextmanager
def removing_unused(folder: Path, *, new: bool) -> Iterator[None]:
    """The same for the locked folder of a standalone stage; the file of the lock stays.

    An answer, a line in the journal and a checkpoint count as work.
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
    """Remove a folder that contains only the file of a free lock."""
    with suppress(OSError):
        if [entry.name for entry in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()


def _remove(folder: Path) -> None:
    """Remove the files of a run but the lock; `run.json` first, because the folder is not a run without it."""
    for name in (RUN, RECIPE, CONSTITUTION, ANSWERS, SESSION):
        (folder / name).unlink(missing_ok=True)
    for entry in folder.iterdir():
        if STAGE.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
