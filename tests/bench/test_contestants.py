"""A contestant that crashes, talks nonsense, falls silent or is missing is an error that says what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.bench.contestants import Contestant
from benchmarks.peers.protocol import Answer, Malformed, Ready, answer_of, line_of, ready_of
from solon.errors import EngineError, InputError
from tests.bench.scripted import ANSWER, READY, call, program

ROOT = Path(__file__).parents[2]


def test_a_contestant_answers_as_often_as_it_is_asked(tmp_path: Path) -> None:
    with Contestant(call(tmp_path, program(tmp_path, "good", READY, ANSWER, ANSWER))) as peer:
        assert peer.ready() == Ready({"it": "1"})
        assert [peer.repeat(), peer.repeat()] == [Answer(2.0, 10.0, 7.5, (1.0,))] * 2


def test_a_crash_is_an_error_with_the_last_lines_of_standard_error(tmp_path: Path) -> None:
    name = program(tmp_path, "crashes", READY, then="raise RuntimeError('no memory left')")
    with Contestant(call(tmp_path, name)) as peer:
        peer.ready()
        with pytest.raises(EngineError, match=r"the peer ended with status 1:\n(.|\n)*RuntimeError: no memory left"):
            peer.repeat()


@pytest.mark.parametrize("said", ["Loading weights 100 %", "[1]", '{"seconds": "2"}', '{"seconds": 0, "amount": 1}'])
def test_nonsense_is_an_error_that_quotes_it(tmp_path: Path, said: str) -> None:
    with Contestant(call(tmp_path, program(tmp_path, "nonsense", READY, said))) as peer:
        peer.ready()
        with pytest.raises(EngineError, match=r"the peer said .* which is not an answer"):
            peer.repeat()


def test_silence_is_an_error(tmp_path: Path) -> None:
    name = program(tmp_path, "silent", READY, then="time.sleep(60)")
    with Contestant(call(tmp_path, name), patience=2.0) as peer:
        peer.ready()
        with pytest.raises(EngineError, match="the peer said nothing for 2 seconds"):
            peer.repeat()


def test_a_missing_environment_is_an_error_that_names_what_builds_it(tmp_path: Path) -> None:
    python = tmp_path / ".venv-peers" / "vllm" / "bin" / "python"
    with pytest.raises(InputError, match=r"the peer has no environment\. Type: make peers PEERS=vllm"):
        Contestant(call(tmp_path, "any", python))


def test_what_libraries_print_does_not_come_between(tmp_path: Path) -> None:
    """The contestant's own end of the conversation, in a process of its own."""
    source = """
from benchmarks.peers.protocol import Floor
floor = Floor()
print("a library's progress bar")
floor.ready("pip")
def work():
    print("more of it")
    return 3, [0.5]
floor.serve(work)
"""
    words = [sys.executable, "-c", source]
    done = subprocess.run(
        words, input="run\nstop\n", capture_output=True, text=True, cwd=ROOT, env={**os.environ}, check=True
    )
    ready, answer = done.stdout.splitlines()
    assert list(ready_of(ready).versions) == ["pip"]
    assert answer_of(answer).amount == 3 and answer_of(answer).values == (0.5,)
    assert "progress bar" in done.stderr and "more of it" in done.stderr


def test_a_training_loop_answers_after_each_step_and_ends_when_it_is_told() -> None:
    source = """
from benchmarks.peers.protocol import Floor
floor = Floor()
floor.ready()
floor.asked()
for step in range(100):
    floor.between_steps(step + 1)
"""
    words = [sys.executable, "-c", source]
    done = subprocess.run(words, input="run\nrun\nstop\n", capture_output=True, text=True, cwd=ROOT, check=True)
    assert [answer_of(line).amount for line in done.stdout.splitlines()[1:]] == [1, 2]


def test_lines_are_read_as_they_were_written() -> None:
    answer, ready = Answer(1.5, 3.0, 9.0, (0.5, -2.0)), Ready({"torch": "2"})
    assert answer_of(line_of(answer)) == answer and ready_of(line_of(ready)) == ready
    for line in ("", "nonsense", json.dumps({"versions": {"torch": 2}}), json.dumps({"seconds": 1})):
        with pytest.raises(Malformed):
            ready_of(line)
        with pytest.raises(Malformed):
            answer_of(line)
