"""Contestants take turns, and one that did other work than Solon is an error."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks.bench import alternation
from benchmarks.bench.alternation import Environments, environment_of, meet, refuse_other_work, with_environment
from benchmarks.bench.sizes import Scale, Setting
from benchmarks.bench.works import HF, OWN, VLLM, Peer
from benchmarks.peers.protocol import Answer
from solon.errors import StageError
from tests.bench.scripted import ANSWER, READY, program, work

PEER = Peer("peer", "the peer", HF, "peer", "way")
TARGET = Peer("asked", "50 things a second", figure=50.0)


def test_they_take_turns_and_the_first_repeat_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alternation, "ROOT", tmp_path)
    slow = json.dumps({**json.loads(ANSWER), "seconds": 99.0})
    program(tmp_path, "solon", READY, slow, ANSWER, ANSWER)
    program(tmp_path, "peer", READY, slow, slow, slow)
    notes: list[str] = []
    found = meet(
        work((PEER, TARGET)), [PEER, TARGET], Setting(Scale.QUICK, 1, 2),
        Environments({HF: Path(sys.executable)}), tmp_path, notes.append,
    )  # fmt: skip
    assert [note.split(": ")[1].rpartition(" ")[0].rpartition(" ")[0] for note in notes] == ["Solon", "the peer"] * 3
    assert [each.seconds for each in found.solon.answers] == [2.0, 2.0] and found.solon.peak_mb == 7.5
    peers = {peer.name: repeats for peer, repeats in found.peers}
    assert [each.seconds for each in peers["peer"].answers] == [99.0, 99.0]
    assert [each.amount / each.seconds for each in peers["asked"].answers] == [50.0, 50.0]


def answer(amount: float, *values: float) -> list[Answer]:
    return [Answer(1.0, amount, 1.0, values)]


def test_texts_of_another_length_are_refused() -> None:
    given = work((PEER,), "new tokens/s")
    refuse_other_work(given, "the peer", answer(640), answer(640))
    with pytest.raises(StageError, match="the peer did 639, and Solon 640 new tokens"):
        refuse_other_work(given, "the peer", answer(640), answer(639))


def test_other_log_odds_are_refused_and_a_sample_of_them_is_enough() -> None:
    given = work((PEER,), "questions/s", tolerance=0.01)
    refuse_other_work(given, "the peer", answer(3, 0.5, -1.0, 2.0), answer(2, 0.505, -1.005))
    with pytest.raises(StageError, match=r"0\.250 away from Solon's on average, more than 0\.01"):
        refuse_other_work(given, "the peer", answer(3, 0.5, -1.0, 2.0), answer(2, 0.5, -1.5))
    with pytest.raises(StageError, match="nan away"):
        refuse_other_work(given, "the peer", answer(1, 0.5), answer(1, float("nan")))


def test_contestants_get_the_same_threads_and_no_policy_of_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    found = environment_of(2)
    assert found["OMP_NUM_THREADS"] == "2" and "OMP_WAIT_POLICY" not in found and found["PATH"] == os.environ["PATH"]


def test_peers_of_other_environments_are_left_out() -> None:
    peers = [PEER, TARGET, Peer("v", "vLLM", VLLM), Peer("own", "Solon in float32", OWN)]
    assert [each.name for each in with_environment(peers, [HF])] == ["peer", "asked", "own"]
    assert [each.name for each in with_environment(peers, [])] == ["asked", "own"]
