"""Settings of the tests of run directories."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def signals_count() -> Iterator[None]:
    """Hangup and interrupt have their ordinary effect, also where the tests run under `nohup` or in the background."""
    usual = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
