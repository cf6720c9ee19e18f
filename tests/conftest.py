"""Settings of all tests."""

import faulthandler
import os
import sys
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
    """Let no thread that a test left behind keep pytest from ending: after two minutes print all stacks and fail."""
    faulthandler.dump_traceback_later(120, exit=True, file=sys.__stderr__)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tiny model for all tests of training."""
    from tests.training.tiny import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
