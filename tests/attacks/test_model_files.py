"""Hostile files of model folders: names and links that lead out, sizes, damage, numbers that are none, templates."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from solon.config.settings import SamplingParams
from solon.engines.local.engine import LocalEngine
from solon.errors import ModelError
from solon.model_folders.folder_check import check_folder
from solon.training import models
from tests.attacks.folders import (
    ASKED,
    CONFIG,
    ELSEWHERE,
    SCORING,
    TOKENIZER,
    WEIGHTS,
    edit,
    refused,
    spoil,
)
from tests.engines.tiny import question

pytestmark = pytest.mark.usefixtures("nothing_is_asked")


# Names and links that lead out.


@pytest.mark.parametrize(
    "named", ["../elsewhere.safetensors", "/etc/passwd", "..", "a/b.safetensors", "", "none.safetensors"]
)
def test_an_index_stays_in_its_folder(base: Path, named: str) -> None:
    shutil.copy(base / WEIGHTS, base.parent / "elsewhere.safetensors")
    (base / WEIGHTS).unlink()
    edit(base / f"{WEIGHTS}.index.json", weight_map={"model.norm.weight": named}, metadata={})
    for load in ASKED.values():
        refused(load, base, "the index names")


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, "tokenizer.json", "chat_template.jinja", "adapter"])
def test_a_link_out_of_the_folder_is_refused(base: Path, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes((base / name).read_bytes() if (base / name).exists() else b"a private key")
    (base / name).unlink(missing_ok=True)
    (base / name).symlink_to(secret)
    for load in ASKED.values():
        refused(load, base, "link", name)


def test_a_link_to_itself_is_refused(base: Path) -> None:
    (base / WEIGHTS).unlink()
    (base / WEIGHTS).symlink_to(WEIGHTS)
    refused(ASKED["asked"], base, "link", WEIGHTS)


def test_a_link_to_templates_elsewhere_is_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a private key")
    (base / "additional_chat_templates").mkdir()
    (base / "additional_chat_templates" / "tools.jinja").symlink_to(tmp_path / "secret")
    refused(ASKED["asked"], base, "link", "tools.jinja")


def test_a_snapshot_of_the_hubs_cache_is_a_model_folder(sound: Path, tmp_path: Path) -> None:
    """Its files are links to blobs in the cache, as the hub's own library stores every model."""
    blobs, snapshot = tmp_path / ELSEWHERE / "blobs", tmp_path / ELSEWHERE / "snapshots" / "0123"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted((sound / "base").iterdir())):
        shutil.copy(file, blobs / str(number))
        (snapshot / file.name).symlink_to(Path("../../blobs") / str(number))
    for load in ASKED.values():
        load(snapshot)
    linked = tmp_path / "mine"
    linked.symlink_to(snapshot)
    ASKED["asked"](linked)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, "tokenizer.json"])
def test_a_pipe_is_not_waited_for(base: Path, name: str) -> None:
    (base / name).unlink()
    os.mkfifo(base / name)
    for load in ASKED.values():
        refused(load, base, "not a plain file", name)


@pytest.mark.parametrize("named", ["../../tokenizer.1.0.json", "/tmp/tokenizer.1.0.json"])
def test_a_tokenizer_file_stays_in_its_folder(base: Path, named: str) -> None:
    edit(base / TOKENIZER, fast_tokenizer_files=[named])
    refused(ASKED["asked"], base, "outside of the folder")


def test_a_configuration_may_not_name_another_weight_file(base: Path) -> None:
    shutil.copy(base / WEIGHTS, base.parent / "elsewhere.safetensors")
    for changes in (
        {"transformers_weights": "../elsewhere.safetensors"},
        {"transformers_weights": f"{WEIGHTS}.index.json"},
        {"transformers_weights": None, "text_config": {"transformers_weights": "other.safetensors"}},
    ):
        edit(base / CONFIG, **changes)
        for load in ASKED.values():
            refused(load, base, "transformers_weights")


# Sizes, depth and damage.


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 10**9},
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 10**6, "vocab_size": 320},
        {"vocab_size": 10**12},
        {"intermediate_size": 10**10},
        {"num_labels": 10**9},
        {"head_dim": 10**9},
        {"hidden_size": 2**14, "intermediate_size": 2**14, "num_hidden_layers": 9},
        {"hidden_size": -32},
        {"hidden_size": 0},
        {"hidden_size": "32"},
        {"hidden_size": 1e300},
        {"num_attention_heads": 0},
        {"num_hidden_layers": [1]},
        {"vocab_size": None},
        {"rope_parameters": {"rope_type": "evil"}},
        {"layer_types": "evil"},
        {"model_type": "../../evil"},
        {"model_type": 7},
        {"dtype": "evil"},
        {"architectures": 7, "hidden_act": "evil"},
        {"hidden_size": 48},
        {"num_hidden_layers": 2},
    ],
)
def test_an_absurd_configuration_is_refused_before_memory_is_taken(base: Path, changes: dict[str, Any]) -> None:
    import resource

    edit(base / CONFIG, **changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for load in (ASKED["asked"], ASKED["trained"]):
        refused(load, base)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10, "KiB"


@pytest.mark.parametrize(
    "name", [CONFIG, TOKENIZER, "tokenizer.json", "generation_config.json", f"{WEIGHTS}.index.json"]
)
@pytest.mark.parametrize("content", ['{"a":' + "[" * 200_000, "[]", "{", "", '{"a": ' + "9" * 9000 + "}", "\x00\xff"])
def test_damaged_or_deep_json_is_refused(base: Path, name: str, content: str) -> None:
    if name.endswith("index.json"):
        (base / WEIGHTS).unlink()
    (base / name).write_bytes(content.encode("latin-1"))
    if name == "generation_config.json":  # a model may lack it, and transformers goes on without
        from solon.model_folders.load import load_generation_config

        refused(load_generation_config, base)
        return
    refused(ASKED["asked"], base)


def header(text: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + data


def tensor(start: int, stop: int, *, shape: tuple[int, ...] = (4,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 99_999_999) + b"{}",
        header(b"[]"),
        header(b'{"a":' * 50_000),
        header(b"not json"),
        header(json.dumps({"a": tensor(0, 16), "b": tensor(8, 24)}).encode(), b"0" * 24),
        header(json.dumps({"a": tensor(0, 16), "b": tensor(20, 36)}).encode(), b"0" * 36),
        header(json.dumps({"a": tensor(0, 16)}).encode(), b"0" * 8),
        header(json.dumps({"a": tensor(0, 16)}).encode(), b"0" * 32),
        header(json.dumps({"a": tensor(0, 16, shape=(2**40, 2**40))}).encode(), b"0" * 16),
        header(json.dumps({"a": tensor(0, 16, shape=(-2, -2))}).encode(), b"0" * 16),
        header(json.dumps({"a": tensor(-16, 0)}).encode(), b"0" * 16),
        header(json.dumps({"a": tensor(0, 16, dtype="evil")}).encode(), b"0" * 16),
        header(json.dumps({"a": 7}).encode()),
        header(json.dumps({"a": {"dtype": "F32"}}).encode()),
        header(json.dumps({"a": tensor(0, 16)}).encode(), b"0" * 16),
    ],
)
def test_an_absurd_header_is_refused(base: Path, content: bytes) -> None:
    (base / WEIGHTS).write_bytes(content)
    refused(ASKED["asked"], base)
    refused(ASKED["trained"], base)


def test_a_missing_weight_is_never_made_up(base: Path) -> None:
    weights = load_file(base / WEIGHTS)
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, base / WEIGHTS, {"format": "pt"})
    for load in ASKED.values():
        refused(load, base, "weights are missing: model.layers.0.mlp.up_proj.weight")


def test_the_shards_of_a_training_job_are_no_model(base: Path) -> None:
    (base / WEIGHTS).rename(base / "shard-00001-model-00001-of-00001.safetensors")
    (base / ".metadata").write_bytes(b"cos\nsystem\n")
    refused(ASKED["asked"], base, "sharded training job")


# Numbers that are none.


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_no_number_is_named(base: Path, pm: Path, value: float) -> None:
    for folder, loads in ((base, ASKED), (pm, SCORING)):
        name = spoil(folder, value)
        for load in loads.values():
            refused(load, folder, name, "not finite")


def test_arithmetic_that_overflows_names_the_model(base: Path) -> None:
    weights = {name: each * 3e38 if each.ndim == 1 else each for name, each in load_file(base / WEIGHTS).items()}
    save_file(weights, base / WEIGHTS, {"format": "pt"})
    engine = LocalEngine.load(base, device="cpu")
    for ask in (
        lambda: engine.generate([question("bread")], [1], SamplingParams(max_tokens=4)),
        lambda: engine.generate([question("bread")], [1], SamplingParams(max_tokens=4, temperature=0.0)),
        lambda: engine.generate([question("bread")], [1], SamplingParams(max_tokens=4, top_p=0.5)),
        lambda: engine.choose([question("bread")], ["A", "B"]),
    ):
        with pytest.raises(ModelError, match="are not finite") as caught:
            ask()
        assert caught.value.place == str(base)


# Templates.


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.mkdir(MARK) }}",
        "{{ lipsum.__globals__['os'].mkdir(MARK) }}",
        "{{ messages.__class__.__base__ }}",
        "{{ raise_exception.__globals__ }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os.mkdir(MARK) }}",
    ],
)
def test_a_template_stays_in_its_sandbox(base: Path, marks: Path, template: str) -> None:
    (base / "chat_template.jinja").write_text(template.replace("MARK", repr(str(marks / "ran"))))
    try:
        tokenizer = models.load_tokenizer(base)
        shown = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    except Exception as error:
        assert "root:" not in str(error)
    else:
        assert "subclass" not in str(shown) and "module" not in str(shown) and "root:" not in str(shown)
    assert not list(marks.iterdir())


def test_a_sound_folder_passes(sound: Path) -> None:
    found = check_folder(sound / "base")
    assert found.contents.elements == sum(each.numel() for each in load_file(sound / "base" / WEIGHTS).values())
    for load in ASKED.values():
        load(sound / "base")
    for load in SCORING.values():
        load(sound / "pm")
