"""Settings of all tests."""

from pathlib import Path

import pytest
from hypothesis import settings

# The machine may be busy with other work, so no test fails for being slow; examples differ from run to run.
settings.register_profile("solon", deadline=None)
settings.load_profile("solon")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tiny model for all tests of training."""
    from tests.training.tiny import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
