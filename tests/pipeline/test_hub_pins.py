"""A run's recipe holds the commits of models of the hub; going on and comparing use them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fake_hub import COMMIT, LATER, REPOSITORY, put_in_cache, tiny_files

from solon.config.loading import load_recipe
from solon.errors import RunError
from solon.export.model_card import base_of, portable
from solon.pipeline.open_run import open_or_create

SETTINGS = (f"model=hf:{REPOSITORY}",)
HERE = f"hf:{REPOSITORY}@{COMMIT}"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    put_in_cache(tmp_path / "cache", tiny_files(tmp_path / "made"))
    return tmp_path / "cache"


def test_a_run_keeps_the_commit_that_it_began_with(tmp_path: Path, cache: Path) -> None:
    run = tmp_path / "run"
    made = open_or_create(run, "own", settings=SETTINGS)
    assert made.recipe.models.pretrained == made.recipe.models.assistant == HERE
    assert load_recipe(run / "recipe.yaml").models.assistant == HERE
    put_in_cache(cache, {}, LATER)  # main moves on
    assert open_or_create(run, None).recipe == open_or_create(run, "own", settings=SETTINGS).recipe == made.recipe
    with pytest.raises(RunError, match=f"models.assistant.*{LATER}"):
        open_or_create(run, "own", settings=(f"model=hf:{REPOSITORY}@{LATER}",))


def test_an_exported_adapter_names_repository_and_commit(tmp_path: Path, cache: Path) -> None:
    recipe = open_or_create(tmp_path / "run", "own", settings=SETTINGS).recipe
    assert base_of(recipe, "sl-cai") == (REPOSITORY, COMMIT) and portable(HERE) == HERE
    folder = tmp_path / "made"
    own = load_recipe("own", settings=(f"model={folder}",))
    assert base_of(own, "sl-cai") == ("made", None)
