"""The catalogue of fetchable models, and how recipes name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from solon.config.builtin import model_path
from solon.config.fetchable import DIRECTORY_VARIABLE, FETCHABLE, fetchable, fetched_directory
from solon.config.model_spec import ModelSpec, located
from solon.errors import ModelError


def test_every_entry_is_pinned() -> None:
    for name, model in FETCHABLE.items():
        assert model.name == name and model.packages and model.size > 0
        assert len(model.sha256) == 64 and set(model.sha256) <= set("0123456789abcdef")
        assert len(set(model.packages)) == len(model.packages)


def test_the_directory_is_outside_the_checkout(tmp_path: Path) -> None:
    assert fetched_directory({}) == Path.home() / ".cache/solon/models"
    assert fetched_directory({"XDG_CACHE_HOME": "/cache"}) == Path("/cache/solon/models")
    assert fetched_directory({DIRECTORY_VARIABLE: str(tmp_path), "XDG_CACHE_HOME": "/cache"}) == tmp_path


def test_a_fetched_name_is_the_folder_in_that_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    name = "fetched:smollm2-135m"
    with pytest.raises(ModelError, match=r"is not fetched. Type: solon models fetch smollm2-135m"):
        model_path(name)
    folder = tmp_path / "smollm2-135m"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert model_path(name) == folder
    spec = ModelSpec.parse(name)
    assert str(spec) == name and spec.scheme == "fetched"
    assert located(spec) == ModelSpec("folder", str(folder))


@pytest.mark.parametrize("name", ["smollm2", "fetched:smollm2", "smollm2-135M"])
def test_a_wrong_name_lists_the_right_ones(name: str) -> None:
    with pytest.raises(ModelError, match=r"no such model. Did you mean 'smollm2-135m'\? Models: smollm2-135m, gemma3"):
        fetchable(name)
