"""What a model folder says of itself before it is loaded."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from solon.errors import ModelError
from solon.model_files import INDEX, read_model_files
from tests.training.tiny import save_tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    tensors = {"a": torch.zeros(3, 4, dtype=torch.bfloat16), "b": torch.zeros(2), "c": torch.zeros(())}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path


def test_parameters_bytes_and_type_are_those_of_the_file(folder: Path) -> None:
    found = read_model_files(folder)
    assert (found.parameters, found.stored, found.dtype, found.kind) == (15, 12 * 2 + 3 * 4, "bfloat16", "llama")


def test_they_are_those_that_transformers_counts(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = save_tiny_model(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert read_model_files(folder).parameters == sum(each.numel() for each in model.parameters())


def test_the_index_says_which_files_belong_to_the_model(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    save_file({"d": torch.zeros(5)}, folder / "other.safetensors")
    names = {"a": "model-00001-of-00002.safetensors"}
    (folder / INDEX).write_text(json.dumps({"weight_map": names}))
    assert read_model_files(folder).parameters == 15
    (folder / INDEX).write_text(json.dumps({"weight_map": {**names, "e": "model-00002-of-00002.safetensors"}}))
    with pytest.raises(ModelError, match="1 of 2 files of weights are missing, such as model-00002-of-00002"):
        read_model_files(folder)
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(ModelError, match="the index names no files of weights"):
        read_model_files(folder)


def test_a_download_that_was_cut_off_is_told_at_every_length(folder: Path) -> None:
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(ModelError) as told:
            read_model_files(folder)
        assert str(told.value).startswith(f"{file}: ") and "again" in str(told.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
        (b"\xff" * 64, "damaged or cut off"),
        ((9).to_bytes(8, "little") + b'{"a": 3} ', "the header of the weights is damaged"),
        ((2).to_bytes(8, "little") + b"[]", "the header of the weights is damaged"),
        ((2).to_bytes(8, "little") + b"{}", "holds no weights"),
    ],
)
def test_what_is_no_file_of_weights_is_told_by_name(folder: Path, content: bytes, says: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=says):
        read_model_files(folder)


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000])
def test_a_configuration_that_is_no_object_is_told(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config\.json: the file is no JSON object"):
        read_model_files(folder)
