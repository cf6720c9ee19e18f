"""A model's folder counts as the loaded model does."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.engines.tiny import byte_tokenizer, model_of, question

from solon.config.builtin import constitution_path, model_path
from solon.config.loading import load_recipe
from solon.config.model_spec import ModelSpec
from solon.config.recipe import EngineSettings
from solon.constitution.reader import load_constitution
from solon.engines.local.engine import LocalEngine
from solon.engines.local.folder_budget import FolderBudget
from solon.engines.registry import folder_budget
from solon.errors import ModelError
from solon.pipeline.token_budget import reserved_tokens


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_counts_window_and_continuations_are_those_of_the_engine(tmp_path: Path, architecture: str) -> None:
    model_of(architecture).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    settings = EngineSettings()
    engine, budget = LocalEngine.load(tmp_path, settings), FolderBudget(tmp_path, settings)
    assert (budget.window, budget.choosing) == (engine.window, engine.choosing)
    for text in ("", "one two", "<|im_end|> é"):
        assert budget.count_tokens(question(text)) == engine.count_tokens(question(text))
        assert budget.continuation(question(text), ["A", "B"]) == engine.continuation(question(text), ["A", "B"])


def test_the_bundled_assistant_leaves_as_many_tokens_free() -> None:
    recipe, constitution = load_recipe("testbed"), load_constitution(constitution_path("testbed"))
    folder = model_path("testbed:assistant")
    engine, budget = LocalEngine.load(folder, recipe.engine), FolderBudget(folder, recipe.engine)
    assert reserved_tokens(recipe, constitution, budget) == reserved_tokens(recipe, constitution, engine)


def test_a_window_beyond_the_models_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    folder = model_path("testbed:assistant")
    with pytest.raises(ModelError, match=r"engine\.window is 1000000"):
        FolderBudget(folder, EngineSettings(window=1_000_000))
    with pytest.raises(ModelError):
        FolderBudget(tmp_path / "none", EngineSettings())


@pytest.mark.parametrize("name", ["openai:m@http://127.0.0.1:9", "vllm:some/folder"])
def test_other_models_are_only_known_by_asking_them(name: str) -> None:
    assert folder_budget(ModelSpec.parse(name), EngineSettings()) is None
