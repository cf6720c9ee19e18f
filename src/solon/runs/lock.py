"""One process per run directory.

The file `lock` says who works there: process id, host, and the time at which that process started, so that a number
which the system has given to another process since is not mistaken for the owner. It is read, judged and written under
the kernel's file lock, which no crash outlives. An empty file means nobody. The kernel's lock is not held all along,
because it would not say who holds it, and some network file systems do not keep it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from solon.errors import RunError
from solon.runs.files import telling_of

LOCK = "lock"
_log = logging.getLogger(__name__)


class Owner(BaseModel):
    """Who works in a run directory."""

    model_config = ConfigDict(frozen=True)

    pid: int
    host: str
    started: str
    """When the process started, in a form that only equals itself."""

    @classmethod
    def this_process(cls) -> Owner:
        """The owner that this process would be."""
        return cls(pid=os.getpid(), host=socket.gethostname(), started=process_start(os.getpid()) or "")

    def may_be_alive(self) -> bool:
        """Whether the owner may still be at work; of a process on another host that cannot be told, so it may."""
        return self.host != socket.gethostname() or (process_start(self.pid) or "") == self.started


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Own a run directory; raises RunError naming the owner when another process does, and reclaims a stale lock."""
    path = folder / LOCK
    with telling_of(path):
        _acquire(path)
    try:
        yield
    finally:
        with _exclusive(path) as descriptor:
            if _read(descriptor) == Owner.this_process():
                os.ftruncate(descriptor, 0)


def owner_of(folder: Path) -> Owner | None:
    """Who works in a run directory now, for display; None when nobody does."""
    try:
        owner = _parse((folder / LOCK).read_bytes())
    except FileNotFoundError:
        return None
    return owner if owner is not None and owner.may_be_alive() else None


def process_start(pid: int) -> str | None:
    """When a process of this host started; None when there is none of that number (or only its remains)."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The command's name stands in brackets and may hold anything; the fields after it are the state and numbers.
        fields = stat.rpartition(")")[2].split()
        if fields[0] in "ZX":
            return None
        # Clock ticks since boot do not move when someone sets the clock.
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{fields[19]}"
    listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip() or None


def _acquire(path: Path) -> None:
    with _exclusive(path) as descriptor:
        owner = _read(descriptor)
        if owner is not None and owner.may_be_alive():
            raise RunError(
                f"process {owner.pid} on {owner.host} works on this run",
                place=str(path.parent),
                remedy=f"Wait for it or stop it; if it is surely gone, delete {path}",
            )
        if os.fstat(descriptor).st_size:
            whose = f"of process {owner.pid}, which is gone" if owner else "that a crash left unreadable"
            _log.warning("%s: a stale lock %s, was reclaimed", path.parent, whose)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, Owner.this_process().model_dump_json().encode(), 0)
        os.fsync(descriptor)


@contextmanager
def _exclusive(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> Owner | None:
    return _parse(os.pread(descriptor, 4096, 0))


def _parse(content: bytes) -> Owner | None:
    try:
        return Owner.model_validate(json.loads(content))
    except (ValueError, ValidationError):
        return None
