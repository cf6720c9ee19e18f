"""The loop's thread: it ends whoever drops it, and whatever it is doing."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from concurrent.futures import CancelledError

import pytest

from solon.http.json_client import ClientSetup, JsonClient, JsonRequest
from solon.http.loop_thread import LoopThread
from tests.attacks.hostile import dripping, listening


class Ending:
    """Counts how often the end was awaited."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


async def _hold(kept: list[object], dropped: threading.Event) -> None:
    while not dropped.is_set():
        await asyncio.sleep(0.01)
    kept.clear()


def test_a_loop_whose_last_reference_its_own_task_drops_ends_without_waiting_for_itself() -> None:
    end, dropped = Ending(), threading.Event()
    loop = LoopThread(end)
    thread = loop._thread
    loop.start(_hold([loop], dropped))
    del loop
    gc.collect()
    assert thread.is_alive()
    dropped.set()
    thread.join(30)
    assert not thread.is_alive() and end.count == 1


def test_a_client_whose_last_reference_its_own_task_drops_ends_too() -> None:
    dropped = threading.Event()
    asked = JsonClient(["http://127.0.0.1:9"], ClientSetup())
    thread = asked._loop._thread
    asked._loop.start(_hold([asked], dropped))
    del asked
    dropped.set()
    thread.join(30)
    assert not thread.is_alive()


def test_closing_cancels_what_is_left_and_may_be_repeated() -> None:
    end = Ending()
    loop = LoopThread(end)
    left = loop.start(asyncio.sleep(600))
    loop.close()
    loop.close()
    assert left.cancelled() and end.count == 1 and not loop._thread.is_alive() and loop._loop.is_closed()


def test_a_thread_that_asks_is_told_when_another_closes_the_client() -> None:
    with listening() as hostile:
        hostile.says = [dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")]
        asked = JsonClient([hostile.url], ClientSetup())
        threading.Timer(0.3, asked.close).start()
        with pytest.raises(CancelledError):
            asked.ask([JsonRequest("/ask", {}, lambda found: found)])


def test_what_is_started_after_the_end_is_cancelled_and_what_is_wished_then_is_nothing() -> None:
    loop = LoopThread(Ending())
    loop.close()
    assert loop.start(asyncio.sleep(600)).cancelled()
    loop.soon(lambda: None)
    asked = JsonClient(["http://127.0.0.1:9"], ClientSetup())
    asked.close()
    with pytest.raises(CancelledError):
        asked.ask_one(JsonRequest("/ask", {}, lambda found: found))
    asked.withdraw()


def test_whoever_starts_work_while_another_thread_ends_the_loop_hears_of_it() -> None:
    for _ in range(20):
        loop = LoopThread(Ending())
        threading.Timer(0.01, loop.close).start()
        started = []
        while loop._finalizer.alive:
            started.append(loop.start(asyncio.sleep(600)))
            time.sleep(0.0005)
        for each in started:
            with pytest.raises(CancelledError):
                each.result(20)


def test_a_client_that_is_dropped_while_its_loop_is_busy_holds_nobody_up() -> None:
    """As the garbage collector drops it, in whichever thread and with whichever lock held."""
    loop, busy = LoopThread(Ending()), threading.Event()
    loop.soon(lambda: busy.wait(20))
    thread = loop._thread
    began = time.monotonic()
    del loop
    gc.collect()
    assert time.monotonic() - began < 5
    busy.set()
    thread.join(30)
    assert not thread.is_alive()
