"""One process per run directory.

The file `lock` is locked in the kernel (flock, by the library filelock) for as long as a session works. No crash
outlives that lock, it holds between containers of one machine whatever they call themselves, and a container that is
made anew under another name finds it free. The kernel does not say who holds it, so `session.json` beside it does:
process id, host and start, and after the session how it ended. That file is for messages alone; nobody is kept out by
it. A file system without such locks is refused, since two processes would write into each other's work there.
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
"""Seconds to wait for a lock: whoever only looks whether it is free holds it for an instant."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_log = logging.getLogger(__name__)


class End(StrEnum):
    """How a session ended."""

    DONE = "done"
    STOPPED = "stopped"
    """Somebody asked for it: Ctrl-C, SIGTERM, a terminal that was closed."""
    FAILED = "failed"


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

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class SessionRecord(BaseModel):
    """What is known of the last session: who works or worked here, or how it ended."""

    model_config = ConfigDict(frozen=True)

    owner: Owner | None = None
    """None after the end: a run that was killed and resumed holds the same files as one that was not."""
    end: End | None = None
    """None while it works, and when it was killed."""
    why: str = ""
    """What it failed of."""

    @property
    def was_killed(self) -> bool:
        """Whether the session ended without being able to say so, given that nobody works here now."""
        return self.end is None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Own a run directory; raises RunError naming the owner when another process does.

    What happens inside is noted as the session's end: done, stopped, or failed and of what.
    """
    lock = _acquire(folder)
    try:
        _notice(folder)
        write_record(folder, SessionRecord(owner=Owner.this_process()))
        try:
            yield
        except KeyboardInterrupt:
            _note(folder, SessionRecord(end=End.STOPPED))
            raise
        except BaseException as error:
            why = " ".join(str(error).split()) or type(error).__name__
            _note(folder, SessionRecord(end=End.FAILED, why=why))
            raise
        _note(folder, SessionRecord(end=End.DONE))
    finally:
        lock.release()


def owner_of(folder: Path) -> Owner | None:
    """Who works in a run directory now, for display; None when nobody does."""
    record = last_session(folder)
    owner = record.owner if record else None
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        # Between taking the lock and writing its name, an owner has none yet.
        return owner or Owner(pid=0, host="an unknown host", started="")
    except OSError:
        return owner
    finally:
        os.close(descriptor)
    return None


def last_session(folder: Path) -> SessionRecord | None:
    """What the last session wrote of itself; None when there was none, or nothing readable."""
    try:
        refuse_special_file(folder / SESSION)
        return SessionRecord.model_validate(json.loads((folder / SESSION).read_bytes()))
    except (OSError, ValueError, ValidationError, RecursionError, RunError):
        return None


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


def write_record(folder: Path, record: SessionRecord) -> None:
    """Say who works in a run directory, or how the session ended; raises RunError when the disk refuses."""
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
                remedy="Wait for it or stop it; its lock goes with it",
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise RunError(
                f"this file system cannot lock files ({error.strerror}), so two processes could write into one run",
                place=str(folder),
                remedy="Put the run on a local disk, or mount the network file system with locks (NFS: lockd, "
                "Lustre: -o flock)",
            ) from error
    return lock


def _notice(folder: Path) -> None:
    """Tell of a session that ended without saying so."""
    if (folder / SESSION).exists() and ((record := last_session(folder)) is None or record.was_killed):
        whose = f"the session of {record.owner}" if record and record.owner else "the last session"
        _log.warning("%s: %s was interrupted and recorded no end; its lock is free", folder, whose)


def _note(folder: Path, record: SessionRecord) -> None:
    """Write how the session ended, if the disk takes it; what went wrong before matters more than that."""
    # A session that removed its run, because nothing was done in it, leaves no record either.
    if (folder / SESSION).exists():
        with suppress(RunError):
            write_record(folder, record)
