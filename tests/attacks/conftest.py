"""Sound model folders for tests to spoil, and a person who answers yes to everything."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import pytest

from solon.training import models
from tests.attacks.folders import SETTINGS
from tests.training.tiny import save_tiny_model, texts_of


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model and a preference model that are as they should be."""
    folder = tmp_path_factory.mktemp("attacks")
    base = save_tiny_model(folder / "base", layers=1)
    tokenizer = models.load_tokenizer(base)
    models.save_model(models.grow_preference_model(base, tokenizer, SETTINGS, 1), texts_of(tokenizer), folder / "pm")
    return folder


@pytest.fixture
def base(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound / "base", tmp_path / "base"))


@pytest.fixture
def pm(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound / "pm", tmp_path / "pm"))


@pytest.fixture
def nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who answers yes to everything, and a test that fails when somebody asks."""

    def ask(prompt: object = "") -> str:
        raise AssertionError(f"asked: {prompt}")

    monkeypatch.setattr("builtins.input", ask)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder
