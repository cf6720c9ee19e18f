"""One tiny model for all tests of training."""

from pathlib import Path

import pytest

from tests.training.tiny import save_tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
