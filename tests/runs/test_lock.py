import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from solon.errors import RunError
from solon.runs.lock import Owner, locked, owner_of, process_start

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
    assert f"delete {tmp_path / 'lock'}" in str(caught.value)
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
        assert f"a stale lock of process {holder.pid}, which is gone, was reclaimed" in caplog.text


def test_a_dead_owner_that_nobody_waited_for_is_gone_too(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    assert process_start(holder.pid) is None


def test_the_same_process_cannot_lock_twice(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(RunError, match=f"process {os.getpid()}"), locked(tmp_path):
        pass


def test_a_recycled_process_id_is_not_mistaken_for_the_owner(tmp_path: Path) -> None:
    recycled = Owner(pid=os.getpid(), host=socket.gethostname(), started="another boot/12345")
    (tmp_path / "lock").write_text(recycled.model_dump_json())
    with locked(tmp_path):
        owner = owner_of(tmp_path)
        assert owner is not None and owner.started == process_start(os.getpid())


def test_another_host_is_believed(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(Owner(pid=1, host="elsewhere", started="x").model_dump_json())
    with pytest.raises(RunError, match="process 1 on elsewhere works on this run"), locked(tmp_path):
        pass
    assert json.loads((tmp_path / "lock").read_text())["host"] == "elsewhere"


@pytest.mark.parametrize("content", [b'{"pid": 1', b"\0\0\0", b"[]", b"{}"])
def test_a_lock_torn_by_a_crash_is_reclaimed(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "lock").write_bytes(content)
    with locked(tmp_path):
        assert "that a crash left unreadable, was reclaimed" in caplog.text


def test_a_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    assert owner_of(tmp_path) is None


def test_processes_have_one_start_each(holder: subprocess.Popen[str]) -> None:
    assert process_start(os.getpid()) == process_start(os.getpid()) != process_start(holder.pid)
    assert process_start(2**22 + 1) is None
