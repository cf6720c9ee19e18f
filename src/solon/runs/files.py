"""Files that are either whole or absent, whatever instant the machine stops at.

A file is written beside its place under a temporary name, flushed to the disk, renamed over its place, and the folder
flushed after it. A process killed in between leaves the old file and a leftover with a fixed name, which the next
write replaces and `sweep` removes. A full disk or a read-only folder becomes one RunError line.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from solon.errors import RunError

PARTIAL = ".partial"
"""Suffix of a file that is still being written."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write; on success it becomes `path` durably, on failure it is removed."""
    temporary = path.with_name(f".{path.name}{PARTIAL}")
    try:
        with telling_of(path):
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, text: str) -> None:
    """Make `text` (UTF-8) the content of `path`, durably and all at once."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def assembling(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill; on success it becomes `folder`, durably and all at once, on failure it is removed.

    Raises RunError when `folder` is there and holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError("the folder is not empty", place=str(folder), remedy="Name a new folder")
    part = folder.with_name(f".{folder.name}{PARTIAL}")
    try:
        with telling_of(folder):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            yield part
            for file in part.rglob("*"):
                sync(file)
            if folder.exists():
                folder.rmdir()
            os.replace(part, folder)
            sync(folder.absolute().parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def link_or_copy(source: Path, target: Path) -> None:
    """Make a finished file appear at `target` too, durably: as a second name of the same file, or as a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        sync(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove what interrupted writes left in a folder."""
    for leftover in folder.glob(f".*{PARTIAL}"):
        leftover.unlink(missing_ok=True)


@contextmanager
def telling_of(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write into a RunError that names the file."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write: {error.strerror or error}",
            place=str(path),
            remedy="Make room or give the right to write there, then resume: nothing finished is lost",
        ) from error
