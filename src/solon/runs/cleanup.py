"""Removes the folder of a new run that fails before it has done any work.

The first command of a run may fail because of a missing file or model. If the folder stayed, it would have the settings
of that command and refuse the corrected one. Reading prompts does not count as work, because it takes a moment. A
model's answer counts, so that no model is asked twice, and so do a chunk and a checkpoint of a stage that is not
finished, such as the training of a preference model, which asks no model and takes hours.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from solon.errors import SolonError
from solon.runs.directory import CONSTITUTION, RECIPE, RUN, STAGE, RunDirectory
from solon.runs.lock import LOCK, SESSION
from solon.runs.manifest import CHECKPOINTS, JOURNAL, MANIFEST
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
                removed = new and _is_unused(run.path, _working_stages(run.path))
                if removed:
                    _remove(run.path)
                raise
    finally:
        if removed:
            remove_lock_folder(run.path)


def _is_unused(folder: Path, stages: Iterable[Path]) -> bool:
    """Whether none of the stages' folders holds work, and no model's answer is kept in `folder`."""
    return not any(map(_holds_work, stages)) and not _answered(folder)


def _working_stages(run: Path) -> list[Path]:
    """The stage folders of a run, without that of the stage that reads prompts."""
    return [each for each in run.iterdir() if STAGE.fullmatch(each.name) and not each.name.startswith(_READ)]


def _holds_work(stage: Path) -> bool:
    """Whether a stage's folder has a manifest, a line in its journal, or a checkpoint."""
    journal = stage / JOURNAL
    begun = journal.exists() and journal.stat().st_size > 0
    return begun or (stage / MANIFEST).exists() or any(stage.glob(f"{CHECKPOINTS}/*"))


def _answered(folder: Path) -> bool:
    with response_cache_in(folder) as answers:
        return any(usage.answers for usage in answers.usage().values())


@contextmanager
def removing_unused(folder: Path, *, new: bool) -> Iterator[None]:
    """The same for the locked folder of a standalone stage; the file of the lock stays."""
    try:
        yield
    except SolonError:
        if new and _is_unused(folder, [folder]):
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
