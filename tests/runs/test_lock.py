import errno
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from solon.errors import RunError
from solon.runs.interrupt import Interrupted
from solon.runs.lock import (
    End,
    Owner,
    SessionRecord,
    last_session,
    locked,
    owner_of,
    process_start,
    write_record,
)

HOLD = """
import sys
from pathlib import Path
from solon.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_with_pid_and_host(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(RunError) as caught, locked(tmp_path):
        pass
    assert f"process {holder.pid} on {socket.gethostname()} works on this run" in str(caught.value)
    assert "Wait until it ends, or stop it" in str(caught.value)
    owner = owner_of(tmp_path)
    assert owner is not None and owner.pid == holder.pid


def test_it_is_free_after_the_owner_ended(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.communicate("\n")
    assert owner_of(tmp_path) is None
    with locked(tmp_path):
        owner = owner_of(tmp_path)
        assert owner is not None and owner.pid == os.getpid()
    assert owner_of(tmp_path) is None


def test_a_killed_owner_leaves_a_stale_lock_that_is_reclaimed_with_a_notice(
    tmp_path: Path, holder: subprocess.Popen[str], caplog: pytest.LogCaptureFixture
) -> None:
    holder.kill()
    holder.wait()
    assert owner_of(tmp_path) is None
    with locked(tmp_path):
        told = f"the session of process {holder.pid} on {socket.gethostname()} was interrupted and recorded no end"
        assert told in caplog.text


def test_a_dead_owner_that_nobody_waited_for_is_gone_too(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    assert process_start(holder.pid) is None


def test_the_same_process_cannot_lock_twice(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(RunError, match=f"process {os.getpid()}"), locked(tmp_path):
        pass


LIES = [
    Owner(pid=os.getpid(), host=socket.gethostname(), started=""),
    Owner(pid=2**22 + 1, host=socket.gethostname(), started="another boot/12345"),
    Owner(pid=1, host="a container that was made anew", started="x"),
]


@pytest.mark.parametrize("owner", LIES)
def test_whatever_the_record_says_a_living_owner_keeps_everybody_out(
    tmp_path: Path, holder: subprocess.Popen[str], owner: Owner
) -> None:
    """As from another container: the number is not known here, or another process has it."""
    write_record(tmp_path, SessionRecord(owner=owner))
    with pytest.raises(RunError, match="works on this run"), locked(tmp_path):
        pass
    assert owner_of(tmp_path) is not None
    (tmp_path / "session.json").unlink()
    with pytest.raises(RunError, match="works on this run"), locked(tmp_path):
        pass


@pytest.mark.parametrize("owner", [*LIES, Owner.this_process()])
def test_whatever_the_record_says_a_dead_owner_keeps_nobody_out(
    tmp_path: Path, owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    """The record of a container that is gone, or of a process whose number this one got."""
    write_record(tmp_path, SessionRecord(owner=owner))
    (tmp_path / "lock").touch()
    assert owner_of(tmp_path) is None
    with locked(tmp_path):
        assert f"the session of {owner} was interrupted and recorded no end" in caplog.text
        assert owner_of(tmp_path) == Owner.this_process()


@pytest.mark.parametrize("content", [b'{"pid": 1', b"\0\0\0", b"[]", b"[" * 9999, b'{"end": "unheard of"}'])
def test_a_record_torn_by_a_crash_keeps_nobody_out(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "session.json").write_bytes(content)
    assert last_session(tmp_path) is None
    with locked(tmp_path):
        assert "the last session was interrupted" in caplog.text


@pytest.mark.parametrize(
    ("error", "record"),
    [
        (None, SessionRecord(end=End.DONE)),
        (Interrupted("as asked"), SessionRecord(end=End.STOPPED)),
        (KeyboardInterrupt(), SessionRecord(end=End.STOPPED)),
        (RunError("no room", place="x"), SessionRecord(end=End.FAILED, why="x: no room")),
        (ZeroDivisionError(), SessionRecord(end=End.FAILED, why="ZeroDivisionError")),
    ],
)
def test_how_a_session_ended_is_kept(tmp_path: Path, error: BaseException | None, record: SessionRecord) -> None:
    with suppress(BaseException), locked(tmp_path):
        assert last_session(tmp_path) == SessionRecord(owner=Owner.this_process())
        if error:
            raise error
    assert last_session(tmp_path) == record


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(RunError, match=r"cannot lock files \(Function not implemented\).*local disk"), locked(tmp_path):
        pass


def test_a_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    assert owner_of(tmp_path) is None


def test_processes_have_one_start_each(holder: subprocess.Popen[str]) -> None:
    assert process_start(os.getpid()) == process_start(os.getpid()) != process_start(holder.pid)
    assert process_start(2**22 + 1) is None
