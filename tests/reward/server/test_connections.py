"""Slots for connections, memory for bodies, and a fixed deadline."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator

import pytest

from solon.reward.server.connections import HEAD, SMALL, BodyMemory, Connections, TimedReader

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made = [socket.socketpair() for _ in range(4)]
    yield made
    for pair in made:
        for end in pair:
            end.close()


def test_who_has_waited_longest_gives_its_place_up_and_who_is_at_work_keeps_it(pairs: list[Pair]) -> None:
    (one, of_one), (two, of_two), (three, _), (four, _) = pairs
    places = Connections(2)
    assert places.admit(one) and places.admit(two)
    places.waits(one)  # a new request of the first
    assert places.admit(three) and len(places) == 2
    assert of_two.recv(1) == b"", "the second was closed"
    assert not places.works(two), "and its request, had it come, would not be answered"
    of_one.setblocking(False)
    with pytest.raises(BlockingIOError):
        of_one.recv(1)
    assert places.works(one) and places.works(three)
    assert not places.admit(four) and len(places) == 2
    places.gone(two)
    places.gone(one)
    assert places.admit(four)
    places.waits(two)
    assert len(places) == 2, "who is gone does not come back"


def test_large_bodies_share_a_room_and_small_ones_always_fit() -> None:
    memory = BodyMemory(10 * SMALL)
    with (
        memory.holding(11 * SMALL) as large,
        memory.holding(2 * SMALL) as second,
        memory.holding(SMALL) as small,
    ):
        assert (large, second, small) == (True, False, True)
    with (
        memory.holding(8 * SMALL) as first,
        memory.holding(2 * SMALL) as second,
        memory.holding(SMALL + 1) as third,
    ):
        assert (first, second, third) == (True, True, False)


def test_bytes_do_not_move_the_deadline(pairs: list[Pair]) -> None:
    server, client = pairs[0]
    reader = TimedReader(server, idle=5, receive=0.2)
    time.sleep(0.05)
    lines = io.BufferedReader(reader)
    began = time.monotonic()
    client.sendall(b"a line\n")
    assert lines.readline() == b"a line\n"
    with pytest.raises(TimeoutError):
        while True:
            client.sendall(b"x\n")
            lines.readline()
            time.sleep(0.02)
    assert 0.15 < time.monotonic() - began < 1
    reader.await_request()
    client.sendall(b"more\n")
    assert b"more\n" in (lines.readline(), lines.readline()), "the next request has its own time"


def test_head_and_body_have_limits(pairs: list[Pair]) -> None:
    server, client = pairs[0]
    reader = TimedReader(server, idle=5, receive=5)
    buffer = bytearray(1 << 13)
    with pytest.raises(ConnectionError, match="too long"):
        for _ in range(2 * HEAD // len(buffer)):
            client.sendall(b"x" * len(buffer))
            while reader.readinto(buffer) == len(buffer):
                break
    reader.await_request()
    reader.allow(2 * HEAD)
    for _ in range(2 * HEAD // len(buffer)):
        client.sendall(b"x" * len(buffer))
        assert reader.readinto(buffer) > 0
