"""Hangups: a terminal that is closed stops a run as Ctrl-C does, and its end is told apart from a failure."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.row_types import IdRow

from solon.cli.main import cli
from solon.config.recipe import Recipe
from solon.runs import Interrupted, RunDirectory
from solon.runs.lock import End, SessionRecord, last_session

CONSTITUTION = """\
name: c
revision: [{id: a, critique_request: b, revision_request: c}]
preference: [{id: a, instruction: b}]
"""
AT_WORK = """
import fcntl, sys, termios, time
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from tests.row_types import IdRow
from solon.runs import RunDirectory
run = RunDirectory.open(sys.argv[1])
def work(items):
    print("asked", items, flush=True)
    time.sleep(0.4)
    print("still writes to the terminal", flush=True)
    return [IdRow(str(item)) for item in items]
with run.lock():
    run.begin(1, "prompts", {}).map("reply", range(100), work, row=IdRow, chunk=1)
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    (tmp_path / "c.yaml").write_text(CONSTITUTION)
    return RunDirectory.create(tmp_path / "run", Recipe(), tmp_path / "c.yaml")


def hang_up_twice(items: Sequence[int]) -> list[IdRow]:
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGHUP)
    return [IdRow(str(item)) for item in items]


def test_a_second_hangup_stops_no_sooner(run: RunDirectory) -> None:
    """A shell that ends and the terminal that it had both send one."""
    with pytest.raises(Interrupted, match="stopped as asked"), run.lock():
        run.begin(1, "prompts", {}).map("reply", range(6), hang_up_twice, row=IdRow, chunk=2)
    assert len((run.path / "01-prompts" / "journal.jsonl").read_text().splitlines()) == 1


def test_a_hangup_that_is_ignored_stays_so(run: RunDirectory) -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with run.lock():
            assert len(run.begin(1, "prompts", {}).map("reply", range(6), hang_up_twice, row=IdRow, chunk=2)) == 6
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_whose_terminal_is_closed_saves_what_is_in_flight(run: RunDirectory) -> None:
    terminal, inside = pty.openpty()
    words = [sys.executable, "-c", AT_WORK, str(run.path)]
    with subprocess.Popen(words, stdin=inside, stdout=inside, stderr=inside, start_new_session=True) as process:
        os.close(inside)
        while b"asked" not in os.read(terminal, 1000):
            pass
        os.close(terminal)
        assert process.wait(timeout=60) != 0
    assert last_session(run.path) == SessionRecord(end=End.STOPPED)
    assert 1 <= len((run.path / "01-prompts" / "journal.jsonl").read_text().splitlines()) <= 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Interrupted("as asked"), "The last session was stopped by Ctrl-C or a signal."),
        (ZeroDivisionError("division by zero"), "The last session failed: division by zero."),
        (None, "No process is working on it. Continue with"),
    ],
)
def test_status_tells_interrupted_from_failed(run: RunDirectory, error: BaseException | None, told: str) -> None:
    if error is not None:
        with pytest.raises(type(error)), run.lock():
            raise error
    assert told in CliRunner().invoke(cli, ["status", str(run.path)]).output


def test_status_tells_of_a_kill(run: RunDirectory) -> None:
    code = (
        "import os, sys\nfrom solon.runs import RunDirectory\nwith RunDirectory.open(sys.argv[1]).lock():\n  os.abort()"
    )
    subprocess.run([sys.executable, "-c", code, str(run.path)], check=False, stderr=subprocess.DEVNULL)
    told = CliRunner().invoke(cli, ["status", str(run.path)]).output
    assert "The last session was interrupted (it recorded no end" in told


@pytest.mark.parametrize("seconds", [0.1, 0.4, 0.8, 1.2])
def test_an_interrupt_while_the_program_loads_is_one_line(tmp_path: Path, seconds: float) -> None:
    words = [sys.executable, "-m", "solon.cli", "run", str(tmp_path / "run"), "--recipe", "testbed", "--quiet"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        try:
            told = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    # Before its first line runs, the interpreter itself answers the signal.
    assert process.returncode in (130, -signal.SIGINT)
    if process.returncode == 130:
        assert "Traceback" not in told and len(told.split("\n\n")[-1].strip().splitlines()) == 1
