"""An event loop in a thread of its own, so that synchronous code can ask many requests at once, from any thread.

The loop ends when nobody refers to it any more. Whoever drops the last reference runs the end, wherever the garbage
collector runs: in a task of this loop or of another one, and with any lock held. So the end is work for the loop, and
only `close` waits for it. What was started before the end is cancelled, and what is started after it is so at once:
whoever waits for a result hears of it in any case.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_PATIENCE = 10.0
"""Seconds that `close` waits for the end; the thread is a daemon, so a process ends in any case."""


class LoopThread:
    """Runs coroutines for synchronous callers; ends with `close`, or when nobody refers to it any more."""

    def __init__(self, at_end: Callable[[], Awaitable[object]]) -> None:
        """`at_end` is awaited in the loop before it stops; it must not refer to the object that owns this one."""
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=_work, args=(self._loop,), name="solon-http", daemon=True)
        self._thread.start()
        self._finalizer = weakref.finalize(self, _end, self._loop, at_end)

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine and do not wait for it; it is cancelled when the loop has ended."""
        with self._lock:
            if self._finalizer.alive:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        never: Future[T] = Future()
        never.cancel()
        return never

    def soon(self, work: Callable[[], object]) -> None:
        """Call a function in the loop's thread, unless the loop has ended."""
        with self._lock:
            if self._finalizer.alive:
                self._loop.call_soon_threadsafe(work)

    def close(self) -> None:
        """Cancel what is left, stop the loop and wait for its thread."""
        with self._lock:
            self._finalizer()
        if self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE)


def _work(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _end(loop: asyncio.AbstractEventLoop, at_end: Callable[[], Awaitable[object]]) -> None:
    asyncio.run_coroutine_threadsafe(_last(loop, at_end), loop)


async def _last(loop: asyncio.AbstractEventLoop, at_end: Callable[[], Awaitable[object]]) -> None:
    try:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await at_end()
    finally:
        loop.stop()
