"""An error about a model's folder names the settings by which a recipe uses it."""

from pathlib import Path

import pytest

from solon.config.builtin import model_path
from solon.config.model_parts import naming_parts, parts_of
from solon.config.recipe import Recipe
from solon.errors import ModelError, RunError


def test_every_part_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    mine = str(tmp_path / "mine")
    recipe = Recipe.model_validate({"models": {"critic": mine, "feedback": [mine, "testbed:assistant"]}})
    assert parts_of(recipe, mine) == ["models.critic", "models.feedback"]
    assert parts_of(recipe, f"{mine}/model.safetensors") == ["models.critic", "models.feedback"]
    assert parts_of(recipe, str(model_path("testbed:assistant"))) == ["models.assistant", "models.feedback"]
    assert parts_of(recipe, str(tmp_path)) == parts_of(recipe, "") == []
    with pytest.raises(ModelError) as caught, naming_parts(recipe):
        raise ModelError("the weight 'a' is none", place=mine, remedy="Restore it")
    assert str(caught.value) == f"{mine} (models.critic, models.feedback): the weight 'a' is none. Restore it"


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^x: locked"), naming_parts(Recipe()):
        raise RunError("locked", place="x")


def test_nothing_is_fetched_for_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    recipe = Recipe.model_validate({"models": {"critic": "hf:some-org/model"}})
    assert parts_of(recipe, str(tmp_path / "hub")) == []
