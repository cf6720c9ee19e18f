"""What a folder's weights are by their headers, before any is read."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from solon.errors import ModelError
from solon.model_folders.folder_check import INDEX, check_folder
from tests.training.tiny import save_tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    tensors = {"a": torch.zeros(3, 4, dtype=torch.bfloat16), "b": torch.zeros(2), "c": torch.zeros(())}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path


def test_parameters_bytes_and_type_are_those_of_the_file(folder: Path) -> None:
    found = check_folder(folder)
    stored = found.contents
    assert (stored.elements, stored.size, stored.dtype, found.kind) == (15, 12 * 2 + 3 * 4, "bfloat16", "llama")


def test_they_are_those_that_transformers_counts(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = save_tiny_model(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert check_folder(folder).contents.elements == sum(each.numel() for each in model.parameters())


def test_the_index_says_which_files_belong_to_the_model(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    save_file({"d": torch.zeros(5)}, folder / "other.safetensors")
    names = {"a": "model-00001-of-00002.safetensors"}
    (folder / INDEX).write_text(json.dumps({"weight_map": names}))
    assert check_folder(folder).contents.elements == 15
    (folder / INDEX).write_text(json.dumps({"weight_map": {**names, "e": "model-00002-of-00002.safetensors"}}))
    with pytest.raises(ModelError, match="model-00002-of-00002"):
        check_folder(folder)
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(ModelError, match="not a safetensors file of the folder"):
        check_folder(folder)


def test_a_truncated_download_is_reported_at_every_length(folder: Path) -> None:
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(ModelError) as caught:
            check_folder(folder)
        assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
        (b"\xff" * 64, "it is cut off"),
        ((9).to_bytes(8, "little") + b'{"a": 3} ', "the weights cannot be read"),
        ((2).to_bytes(8, "little") + b"[]", "the weights cannot be read"),
    ],
)
def test_a_file_that_is_not_safetensors_is_named(folder: Path, content: bytes, says: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=says):
        check_folder(folder)
