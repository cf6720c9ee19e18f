"""Files that are either whole or absent, whatever instant the machine stops at.

A file is written beside its place under a temporary name, flushed to the disk, renamed over its place, and the folder
flushed after it. A process killed in between leaves the old file and a leftover with a fixed name, which the next
write replaces and `sweep` removes. A full disk or a read-only folder becomes one RunError line. Nothing is written
through a link: a run directory may come from somebody else, and a link in it may lead anywhere.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from solon.errors import RunError

PARTIAL = ".partial"
"""Suffix of a file that is still being written."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(path: Path, needed: int | None = None) -> Iterator[Path]:
    """Yield a temporary path to write; on success it becomes `path` durably, on failure it is removed.

    `needed` is how many bytes are to be written, where that is known, for the message of a full disk.
    """
    temporary = path.with_name(f".{path.name}{PARTIAL}")
    try:
        with reporting_write_errors(path, needed):
            # What lies there may be a link that somebody planted; it is removed, and nothing is opened through it.
            temporary.unlink(missing_ok=True)
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
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
    content = text.encode("utf-8")
    with replacing(path, len(content)) as temporary:
        temporary.write_bytes(content)


@contextmanager
def assembling(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill; on success it becomes `folder`, durably and all at once, on failure it is removed.

    Raises RunError when `folder` is there and holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError("the folder is not empty", place=str(folder), remedy="Name a new folder")
    part = folder.with_name(f".{folder.name}{PARTIAL}")
    try:
        with reporting_write_errors(folder):
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
        with reporting_write_errors(target, source.stat().st_size):
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
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


def refuse_special_files(folder: Path) -> None:
    """Raise RunError when a folder holds, at any depth, what is neither a file nor a folder of its own.

    A link would lead reads and writes elsewhere, and a pipe would hold up whoever opens it. The folder itself may be
    reached through a link.
    """
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent) / name for name in (*folders, *files)):
            refuse_special_file(path)


def refuse_special_file(path: Path) -> None:
    """Raise RunError when something is at `path` that is neither a file nor a folder of its own."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        what = "a link" if stat.S_ISLNK(mode) else "neither a file nor a folder"
        raise RunError(
            f"a run directory may not hold this: it is {what}",
            place=str(path),
            remedy="Put the file or folder itself there, or remove it",
        )


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a file; FileNotFoundError when there is none, RunError for anything else in it."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RunError("the file is damaged", place=str(path), remedy=remedy)
    return found


@contextmanager
def reporting_write_errors(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn an operating system's refusal to write into a RunError that names the file, and on a full disk the room."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write: {error.strerror or error}{free_space(path, needed) if is_full(error) else ''}",
            place=str(path),
            remedy="Make room or give the right to write there, then resume: nothing finished is lost",
        ) from error


def is_full(error: OSError) -> bool:
    """Whether the disk, or the user's share of it, was full."""
    # The tensor library's error has no number, only the system's words.
    return error.errno in _FULL or os.strerror(errno.ENOSPC) in str(error)


def free_space(path: Path, needed: int | None = None) -> str:
    """How much room the disk of a path has, in brackets, and how much was needed where that is known; else empty."""
    place = next((each for each in (path, *path.absolute().parents) if each.exists()), Path("/"))
    try:
        found = os.statvfs(place)
    except OSError:
        return ""
    told = [f"{found.f_bavail * found.f_frsize:,} bytes are free"]
    if found.f_files and not found.f_favail:
        told.append("no further file can be made (inodes)")
    if needed is not None:
        told.append(f"{needed:,} are needed")
    return f" ({', '.join(told)})"
