"""The loop's thread: it ends whoever drops it, and whatever it is doing."""

from __future__ import annotations

import asyncio
import gc
import threading
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
