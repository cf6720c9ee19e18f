"""Atomic writes: a file is either whole or absent, whenever the machine stops.

A file is written under a temporary name in the same folder, flushed to the disk and renamed; then the folder is
flushed. The name has the process's number in it, so that two processes never write into one temporary file. A process
that is killed in between leaves the old file and its temporary file, which the next write of that file and `sweep`
remove. A full disk or a read-only folder is a RunError. Nothing is written through a link:
a run directory may come from somebody else, and a link in it may lead anywhere.
"""

from __future__ import annotations

import errno
import glob
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from solon.errors import RunError

PARTIAL = ".partial"
"""The suffix of an unfinished file."""
_TEMPORARY = re.compile(r"\.(?P<name>.+?)(?:\.(?P<process>\d+))?\.partial")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(path: Path, needed: int | None = None) -> Iterator[Path]:
    """Yield a temporary path to write to; on success it becomes `path`, durably, and on failure it is removed.

    `needed` is the number of bytes to write, where it is known, for the message about a full disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with reporting_write_errors(path, needed):
            # An existing temporary file may be a planted link: it is removed, and never opened.
            _remove_stale(path)
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def made_by_writing(name: str) -> str | None:
    """The name of the file that a file of this name is an unfinished write of; None for any other name."""
    found = _TEMPORARY.fullmatch(name)
    return found["name"] if found else None


def _remove_stale(path: Path) -> None:
    """Remove what interrupted writes of a file left: temporary files of this process, and of those that ended."""
    for entry in path.parent.glob(f".{glob.escape(path.name)}*{PARTIAL}"):
        found = _TEMPORARY.fullmatch(entry.name)
        if found and found["name"] == path.name and not _is_of_another(found["process"]):
            entry.unlink(missing_ok=True)


def _is_of_another(process: str | None) -> bool:
    """Whether a number is that of another process that still runs."""
    if process is None or int(process) == os.getpid():
        return False
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def write_atomically(path: Path, text: str) -> None:
    """Make `text` (UTF-8) the content of `path`, durably and all at once."""
    content = text.encode("utf-8")
    with replacing(path, len(content)) as temporary:
        temporary.write_bytes(content)


@contextmanager
def assembling(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; on success it becomes `folder`, durably and at once, on failure it is removed.

    Raises RunError when `folder` exists and is not empty.
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
    """Make a finished file appear at `target` too, durably: as a hard link, or else as a copy."""
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
    """Remove the temporary files that interrupted writes left in a folder."""
    for leftover in folder.glob(f".*{PARTIAL}"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


def refuse_special_files(folder: Path) -> None:
    """Raise RunError when a folder contains, at any depth, anything but plain files and folders.

    A link would redirect reads and writes, and opening a pipe would block. The path of the folder itself may contain
    links.
    """
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent) / name for name in (*folders, *files)):
            refuse_special_file(path)


def refuse_special_file(path: Path) -> None:
    """Raise RunError when `path` exists and is not a plain file or folder."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        what = "a link" if stat.S_ISLNK(mode) else "neither a file nor a folder"
        raise RunError(
            f"not allowed in a run directory: this is {what}",
            place=str(path),
            remedy="Put the file or folder itself there, or remove it",
        )


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a file; raises FileNotFoundError when there is no file, RunError for any other content."""
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
    """Turn an OSError into a RunError that names the file, and on a full disk the free space."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write: {error.strerror or error}{free_space(path, needed) if is_full(error) else ''}",
            place=str(path),
            remedy="Free disk space or allow writing there, then resume: nothing finished is lost",
        ) from error


def is_full(error: OSError) -> bool:
    """Whether the disk, or the user's quota, is full."""
    # The errors of safetensors have the system's message and no number.
    return error.errno in _FULL or os.strerror(errno.ENOSPC) in str(error)


def free_space(path: Path, needed: int | None = None) -> str:
    """The free space of a path's disk in brackets, with the bytes needed where known; empty when it is unknown."""
    place = next((each for each in (path, *path.absolute().parents) if each.exists()), Path("/"))
    try:
        disk = os.statvfs(place)
    except OSError:
        return ""
    parts = [f"{disk.f_bavail * disk.f_frsize:,} bytes are free"]
    if disk.f_files and not disk.f_favail:
        parts.append("no more files can be created (inodes)")
    if needed is not None:
        parts.append(f"{needed:,} are needed")
    return f" ({', '.join(parts)})"
