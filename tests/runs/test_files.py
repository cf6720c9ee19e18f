import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from solon.errors import RunError
from solon.runs.files import made_by_writing, replacing, sweep, write_atomically


def test_content_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_atomically(path, "one\r\né")
    write_atomically(path, "two\n")
    assert path.read_bytes() == b"two\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("operation", ["fsync", "replace"])
def test_a_refusing_disk_keeps_the_old_content_and_leaves_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    path = tmp_path / "x.json"
    write_atomically(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, operation, full)
        with pytest.raises(
            RunError,
            match=r"x\.json: cannot write: No space left on device \([\d,]+ bytes are free.* 3 are needed\)\. Free",
        ):
            write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_ctrl_c_while_writing_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_atomically(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_a_kill_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".x.json.partial").write_text("half")
    (tmp_path / "kept").write_text("x")
    sweep(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


def test_a_write_removes_what_ended_processes_left_of_the_same_file(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f".x.json.{ended.pid}.partial").write_text("half")
    (tmp_path / ".x.json.partial").symlink_to(tmp_path / "elsewhere")
    others = {f".x.json.{os.getppid()}.partial", f".y.json.{ended.pid}.partial"}
    for name in others:
        (tmp_path / name).write_text("half")
    write_atomically(tmp_path / "x.json", "whole")
    assert {entry.name for entry in tmp_path.iterdir()} == {"x.json", *others}
    sweep(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == {"x.json"}


def test_two_processes_write_under_two_names(tmp_path: Path) -> None:
    with replacing(tmp_path / "x.json") as temporary:
        assert temporary.name == f".x.json.{os.getpid()}.partial"
        assert made_by_writing(temporary.name) == "x.json"
        temporary.write_text("whole")
    assert made_by_writing("x.json") is None
