"""Settings of all tests."""

import faulthandler
import os
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
from hypothesis import settings

# The machine may be busy with other work, so no test fails for being slow; examples differ from run to run.
settings.register_profile("solon", deadline=None)
settings.load_profile("solon")


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs, so that tests give the same numbers on every machine; `make test-gpu` selects those for a GPU."""
    if config.getoption("markexpr") != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_unconfigure() -> None:
    """Let nothing that a test left behind keep pytest from ending: name the threads that would, and fail.

    Daemon threads end with the process. What else can hang after this, such as a library's own exit, is cut after two
    minutes, with all stacks.
    """
    until = time.monotonic() + 30
    others = [each for each in threading.enumerate() if each is not threading.main_thread() and not each.daemon]
    for thread in others:
        thread.join(max(0.0, until - time.monotonic()))
    if left := [each for each in others if each.is_alive()]:
        frames = sys._current_frames()
        for thread in left:
            print(f"\n{thread.name} would keep pytest from ending:", file=sys.__stderr__)
            traceback.print_stack(frames.get(thread.ident or 0), file=sys.__stderr__)
        os._exit(1)
    faulthandler.dump_traceback_later(120, exit=True, file=sys.__stderr__)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tiny model for all tests of training."""
    from tests.training.tiny import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
