"""One process at a time may work in a run directory.

A session locks the file `lock` in the kernel (flock, through the library filelock). The kernel frees the lock when the
process ends, however it ends. The lock works between containers of one machine, and a container that restarts under
another name finds it free. The kernel does not say which process has the lock, so `session.json` does: process id, host
and start, and afterwards how the session ended. That file is only for messages; it locks nobody out. A file system
without such locks is refused, because two processes could write into one run.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from solon.errors import RunError
from solon.runs.files import refuse_special_file, reporting_write_errors, write_atomically

LOCK, SESSION = "lock", "session.json"
_PATIENCE = 0.3
"""Seconds to wait for a lock: a process that checks whether it is free has it for an instant."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_log = logging.getLogger(__name__)


class End(StrEnum):
    """How a session ended."""

    DONE = "done"
    STOPPED = "stopped"
    """On request: Ctrl-C, SIGTERM, or a closed terminal."""
    FAILED = "failed"


class Owner(BaseModel):
    """The process that works in a run directory."""

    model_config = ConfigDict(frozen=True)

    pid: int
    host: str
    started: str
    """When the process started; equal only for the same process."""

    @classmethod
    def this_process(cls) -> Owner:
        """This process as an owner."""
        return cls(pid=os.getpid(), host=socket.gethostname(), started=process_start(os.getpid()) or "")

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class SessionRecord(BaseModel):
    """The last session of a run directory: its process while it works, and then how it ended."""

    model_config = ConfigDict(frozen=True)

    owner: Owner | None = None
    """None after the end, so that a run has the same files whether or not it was killed and resumed."""
    end: End | None = None
    """None while it works, and after it was killed."""
    why: str = ""
    """The error that it failed with."""

    @property
    def was_killed(self) -> bool:
        """Whether the session ended without a record of it, given that no process works here now."""
        return self.end is None


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Lock a folder, for a moment and without a record of a session; raises RunError as `locked` does."""
    lock = _acquire(folder)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run directory; raises RunError naming the owner when another process works there.

    The end of the block is recorded as the session's end: done, stopped, or failed with its error.
    """
    lock = _acquire(folder)
    try:
        _warn_of_killed_session(folder)
        write_record(folder, SessionRecord(owner=Owner.this_process()))
        try:
            yield
        except KeyboardInterrupt:
            _record_end(folder, SessionRecord(end=End.STOPPED))
            raise
        except BaseException as error:
            why = " ".join(str(error).split()) or type(error).__name__
            _record_end(folder, SessionRecord(end=End.FAILED, why=why))
            raise
        _record_end(folder, SessionRecord(end=End.DONE))
    finally:
        lock.release()


def owner_of(folder: Path) -> Owner | None:
    """The process that works in a run directory now, for messages; None when there is none."""
    record = last_session(folder)
    owner = record.owner if record else None
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        # A session has the lock for an instant before it writes its record.
        return owner or Owner(pid=0, host="an unknown host", started="")
    except OSError:
        return owner
    finally:
        os.close(descriptor)
    return None


def last_session(folder: Path) -> SessionRecord | None:
    """The record of the last session; None when there is none, or it is unreadable."""
    try:
        refuse_special_file(folder / SESSION)
        return SessionRecord.model_validate(json.loads((folder / SESSION).read_bytes()))
    except (OSError, ValueError, ValidationError, RecursionError, RunError):
        return None


def process_start(pid: int) -> str | None:
    """When a process of this host started; None when there is no such process (or only a zombie)."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The command's name is in brackets and may contain anything; after it come the state and numbers.
        fields = stat.rpartition(")")[2].split()
        if fields[0] in "ZX":
            return None
        # Clock ticks since boot do not move when someone sets the clock.
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{fields[19]}"
    listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip() or None


def write_record(folder: Path, record: SessionRecord) -> None:
    """Write the record of a session; raises RunError when it cannot be written."""
    write_atomically(folder / SESSION, record.model_dump_json(indent=1) + "\n")


def _acquire(folder: Path) -> FileLock:
    path = folder / LOCK
    refuse_special_file(path)
    lock = FileLock(path, timeout=_PATIENCE, thread_local=False, fallback_to_soft=False)
    with reporting_write_errors(path):
        try:
            lock.acquire()
        except Timeout:
            owner = owner_of(folder)
            raise RunError(
                f"{owner or 'another process'} works on this run",
                place=str(folder),
                remedy="Wait until it ends, or stop it; that frees the lock",
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise RunError(
                f"this file system cannot lock files ({error.strerror}), and two processes could write into one run",
                place=str(folder),
                remedy="Put the run on a local disk, or mount the network file system with locks (NFS: lockd, "
                "Lustre: -o flock)",
            ) from error
    return lock


def _warn_of_killed_session(folder: Path) -> None:
    if (folder / SESSION).exists() and ((record := last_session(folder)) is None or record.was_killed):
        session = f"the session of {record.owner}" if record and record.owner else "the last session"
        _log.warning("%s: %s was interrupted and recorded no end; its lock is free", folder, session)


def _record_end(folder: Path, record: SessionRecord) -> None:
    """Write how the session ended; a failure to write is ignored, because an earlier error matters more."""
    # A session that removed its run, because nothing was done in it, leaves no record.
    if (folder / SESSION).exists():
        with suppress(RunError):
            write_record(folder, record)
