import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from solon.config import builtin
from solon.config.builtin import constitution_path, default_recipe, model_path, recipe_path, source_path
from solon.errors import ConstitutionError, InputError, ModelError, RecipeError


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    data = tmp_path / "data"
    for name in ("testbed/red-team.jsonl", "testbed/big.jsonl.gz", "constitutions/house.yaml", "recipes/quick.yaml"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("x")
    (data / "models/assistant").mkdir(parents=True)
    (data / "models/assistant/config.json").write_text("{}")
    monkeypatch.setattr(builtin, "DATA", data)
    monkeypatch.chdir(tmp_path)
    return data


def test_names_lead_to_the_data(data: Path) -> None:
    assert source_path("testbed:red-team") == data / "testbed/red-team.jsonl"
    assert source_path("testbed:big") == data / "testbed/big.jsonl.gz"
    assert model_path("testbed:assistant") == data / "models/assistant"
    assert constitution_path("house") == data / "constitutions/house.yaml"
    assert recipe_path("quick") == data / "recipes/quick.yaml"


def test_paths_pass_through(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "my.jsonl"
    file.write_text("x")
    assert source_path(file) == source_path(str(file)) == file
    assert source_path("my.jsonl") == Path("my.jsonl")
    # A file of the user's own is no built-in one, even under the same name.
    (tmp_path / "house").write_text("x")
    assert constitution_path("./house") == Path("house")
    assert constitution_path("house") == data / "constitutions/house.yaml"


@pytest.mark.parametrize(
    ("resolve", "name", "kind", "hint"),
    [
        (
            source_path,
            "testbed:red-tem",
            InputError,
            "Did you mean 'testbed:red-team'? Built in: testbed:big",
        ),
        (source_path, "nowhere.jsonl", InputError, "no such prompt file. Built in: testbed:big"),
        (model_path, "testbed:asistant", ModelError, "Did you mean 'testbed:assistant'?"),
        (model_path, "fetched:smollm2", ModelError, "Did you mean 'smollm2-135m'?"),
        (model_path, "Some-Org/model-1.5B", ModelError, "hf download Some-Org/model-1.5B, and copy its cache to"),
        (model_path, "gpt2", ModelError, "named with its organisation: ORG/gpt2"),
        (constitution_path, "huose", ConstitutionError, "Did you mean 'house'?"),
        (recipe_path, "quik", RecipeError, "Did you mean 'quick'?"),
    ],
)
def test_a_missing_name_is_refused_with_what_exists(
    data: Path,
    resolve: Callable[[str], Path],
    name: str,
    kind: type[Exception],
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(kind) as caught:
        resolve(name)
    assert str(caught.value).startswith(f"{name}: no such ")
    assert hint in str(caught.value)


def test_a_folder_that_is_no_model_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"^empty: not a model folder: config\.json is missing"):
        model_path("empty")


def test_a_name_cannot_leave_the_data_folder(data: Path) -> None:
    (data / "secret.jsonl").write_text("x")
    with pytest.raises(InputError):
        source_path("testbed:../secret")


def test_the_vocabulary_and_run_directories_import_no_heavy_library() -> None:
    code = (
        "import sys, solon.config.builtin, solon.constitution.reader, solon.config.loading, solon.prompts, solon.runs;"
        "print([name for name in ('torch', 'transformers', 'pyarrow', 'numpy') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


def test_a_path_that_is_misspelt_beside_other_models_is_not_taken_for_a_hub_name(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("mine/modle", "models/mien"):
        with pytest.raises(ModelError) as told:
            model_path(name)
        assert "hf download" not in str(told.value)


def test_a_tilde_is_the_home_folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    assert model_path("~/mine") == tmp_path / "mine"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("your-model", "model: the recipe names no model. Name your model: --set model=FOLDER"),
        (
            "http://127.0.0.1:8000/v1",
            "http://127.0.0.1:8000/v1: this is an address, and it does not say which model",
        ),
        ("", "'': no such model folder"),
    ],
)
def test_what_is_no_path_to_a_model_is_told_with_what_to_do(data: Path, name: str, told: str) -> None:
    with pytest.raises(ModelError) as refused:
        model_path(name)
    assert str(refused.value).startswith(told)


@pytest.mark.parametrize(
    ("models", "recipe"),
    [
        (("testbed:assistant",), "testbed"),
        (("testbed:assistant", "testbed:pretrained"), "testbed"),
        (("testbed:assistant", "models/mine"), "own"),
        (("fetched:smollm2-135m",), "own"),
        ((Path("models/mine"),), "own"),
    ],
)
def test_the_recipe_of_a_command_without_one_is_that_for_a_model_of_one_s_own(
    models: tuple[str | Path, ...], recipe: str
) -> None:
    assert default_recipe(*models) == recipe
