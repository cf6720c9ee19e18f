"""Checks a model folder before a library opens it: reads only its files, in milliseconds.

Transformers trusts a folder in many ways: it runs the folder's code, asks the hub for kernels and adapters, follows
file names out of the folder, and allocates whatever a configuration says. This module refuses all of that by name, so
that `load` gets only plain models: one config.json, and safetensors in the folder of the size that the configuration
describes.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.errors import ModelError
from solon.model_folders.headers import Contents, contents_of

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER_CONFIG, TOKENIZER = "tokenizer_config.json", "tokenizer.json"
LARGEST = 64 << 20
"""The most bytes of a JSON file; an index of 100,000 tensors has about ten MiB."""
SAVE_AGAIN = "Save it again with save_pretrained, model and tokenizer"
_GIVE = "Give the folder that save_pretrained wrote, or testbed:assistant"
_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "consolidated*.bin")
_SHARD_OF_A_JOB = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")
_LAYERS = frozenset({"num_hidden_layers", "n_layer", "n_layers", "num_layers"})
_SIZES = re.compile("layer|hidden|head|expert|vocab|embd|d_model|inner|ffn|label|dim|size|rank|width")
_SLACK = 64
"""A number in a configuration may be this many times the longest side of a tensor; loading checks exact shapes."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder that passed the check: its configuration, and its weights by their headers."""

    path: Path
    config: Mapping[str, Any]
    contents: Contents

    @property
    def kind(self) -> str:
        """The `model_type` of the configuration, which names the architecture; empty when there is none."""
        return str(self.config.get("model_type") or "")

    @property
    def architectures(self) -> tuple[str, ...]:
        """The classes that the model was saved as, by its configuration; empty when it names none."""
        named = self.config.get("architectures")
        return tuple(map(str, named)) if isinstance(named, list) else ()


def check_folder(path: Path) -> ModelFolder:
    """The model folder at `path`; raises ModelError with the file's name for one that must not be loaded."""
    config = check_config(path)
    files = weight_files(path)
    contents = contents_of(files)
    _check_sizes(path / CONFIG, config, contents)
    return ModelFolder(path, config, contents)


def check_config(path: Path) -> dict[str, Any]:
    """The configuration of a model folder, without a look at its weights; raises ModelError as `check_folder` does."""
    if not path.exists():
        raise ModelError("no such model folder", place=str(path), remedy=_GIVE)
    if not path.is_dir():
        raise ModelError("a model is a folder, and this is a file", place=str(path), remedy=_GIVE)
    check_files(path)
    has_config, has_adapter = (path / CONFIG).exists(), (path / "adapter_config.json").exists()
    if has_adapter:
        raise ModelError(
            "the folder holds a LoRA adapter "
            + ("and a model, and it is not clear which one to load" if has_config else "without its base model"),
            place=str(path),
            remedy="Merge it with peft's merge_and_unload and save the whole model",
        )
    if not has_config:
        raise ModelError("not a model folder: config.json is missing", place=str(path), remedy=_GIVE)
    config = read_json(path / CONFIG)
    if any(each.get("quantization_config") for each in _parts(config)):
        raise ModelError(
            "the weights are quantized, which Solon cannot read",
            place=str(path / CONFIG),
            remedy="Give the model as float32, bfloat16 or float16",
        )
    if any(each.get("transformers_weights") not in (None, WEIGHTS) for each in _parts(config)):
        raise ModelError(
            f"'transformers_weights' names another file than {WEIGHTS}",
            place=str(path / CONFIG),
            remedy=SAVE_AGAIN,
        )
    return config


def check_files(path: Path) -> None:
    """Raise ModelError when an entry of a folder is not a plain file, or a link that leads out of it.

    The content behind a link would end up in every model that is saved from this one. A snapshot in the cache of the
    Hugging Face hub consists of links to its own blobs, and is accepted.
    """
    home = path.resolve()
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else None
    templates = path / "additional_chat_templates"
    for entry in [*path.iterdir(), *(templates.iterdir() if templates.is_dir() else ())]:
        if entry.is_symlink() and not _stays(entry, home, blobs):
            raise ModelError(
                "the file is a link that leads out of the model folder",
                place=str(entry),
                remedy="Copy the file itself into the folder: cp -rL FOLDER NEW",
            )
        try:
            mode = entry.stat().st_mode
        except OSError:  # a broken link; loading reports the missing file
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ModelError("not a plain file", place=str(entry), remedy="Remove it from the model folder")


def _stays(link: Path, home: Path, blobs: Path | None) -> bool:
    """Whether a link leads into the folder `home`, or to one of the cache's blobs."""
    try:
        target = link.resolve()
    except (OSError, RuntimeError):  # a link to itself
        return False
    return target.is_relative_to(home) or target.parent == blobs


def check_tokenizer(path: Path) -> str | None:
    """A description of the folder's own code that the tokenizer names, or None.

    Raises ModelError when its files name others outside of the folder, or when there is only code.
    """
    check_files(path)
    file = path / TOKENIZER_CONFIG
    config = read_json(file) if file.exists() else {}
    named = config.get("fast_tokenizer_files") or []
    if not isinstance(named, list) or any(not _is_name(each) for each in named):
        raise ModelError(
            "'fast_tokenizer_files' names a file outside of the folder", place=str(file), remedy=SAVE_AGAIN
        )
    code = own_code(config)
    if code and not (path / TOKENIZER).exists():
        raise own_tokenizer(path, code)
    return code


def own_tokenizer(path: Path, code: str) -> ModelError:
    """The error for a tokenizer that needs the folder's own code."""
    return ModelError(
        f"the tokenizer is code of the folder's own ({code}), which is never run",
        place=str(path / TOKENIZER_CONFIG),
        remedy=f"Give a folder with a {TOKENIZER}, and with a tokenizer_class that transformers itself has",
    )


def own_code(config: Mapping[str, Any]) -> str | None:
    """A description of the folder's own code that a configuration names; None when it names none."""
    return f"auto_map: {json.dumps(config['auto_map'])[:120]}" if config.get("auto_map") else None


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a model, one or several shards; raises ModelError when there are none."""
    if any(_SHARD_OF_A_JOB.fullmatch(entry.name) for entry in path.iterdir()):
        raise ModelError(
            "the folder is the checkpoint of a sharded training job",
            place=str(path),
            remedy="Save the whole model from it with save_pretrained",
        )
    if (path / WEIGHTS).exists():
        return [path / WEIGHTS]
    if (path / INDEX).exists():
        return _shards(path)
    if any(file for pattern in _PICKLES for file in path.glob(pattern)):
        raise ModelError(
            "the weights are pickle files, which can run code when they are read",
            place=str(path),
            remedy="Save the model as safetensors where you trust it: model.save_pretrained(folder)",
        )
    raise ModelError(f"the folder holds no weights ({WEIGHTS}, or its index)", place=str(path), remedy=_GIVE)


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; raises ModelError if there is none, or it is too large or nested too deeply."""
    try:
        if file.stat().st_size > LARGEST:
            raise ModelError(f"the file has more than {LARGEST >> 20} MiB", place=str(file), remedy=SAVE_AGAIN)
        found = json.loads(file.read_bytes())
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror or error}", place=str(file), remedy=SAVE_AGAIN) from None
    except RecursionError:
        raise ModelError("the JSON is nested too deeply", place=str(file), remedy=SAVE_AGAIN) from None
    except ValueError as error:
        raise ModelError(f"broken JSON: {error}", place=str(file), remedy=SAVE_AGAIN) from None
    if not isinstance(found, dict):
        raise ModelError("the JSON is not an object", place=str(file), remedy=SAVE_AGAIN)
    return found


def _shards(path: Path) -> list[Path]:
    index = path / INDEX
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise ModelError("the index has no 'weight_map'", place=str(index), remedy=SAVE_AGAIN)
    files = []
    for name in sorted(set(map(str, named.values()))):
        if not _is_name(name) or not name.endswith(".safetensors"):
            raise ModelError(
                f"the index names {name[:80]!r}, which is not a safetensors file of the folder",
                place=str(index),
                remedy=SAVE_AGAIN,
            )
        if not (path / name).is_file():
            raise ModelError(f"the index names {name!r}, which is missing", place=str(index), remedy=SAVE_AGAIN)
        files.append(path / name)
    return files


def _check_sizes(file: Path, config: Mapping[str, Any], contents: Contents) -> None:
    """Refuse numbers that do not fit weights of this size; building such a model could take all memory."""
    sides = _SLACK * (max(contents.longest, contents.tensors) + 1024)
    for part in _parts(config):
        for key, value in part.items():
            if type(value) not in (int, float):
                continue
            most = 2 * contents.tensors + 8 if key in _LAYERS else sides
            if (key in _LAYERS or _SIZES.search(key)) and abs(value) > most:
                raise ModelError(
                    f"'{key}' is {value}, more than its weights can have",
                    place=str(file),
                    remedy="Restore config.json from a copy",
                )


def _parts(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A configuration and all nested ones, such as that of the text model."""
    waiting: list[Any] = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _is_name(given: object) -> bool:
    """Whether this is the bare name of a file."""
    return isinstance(given, str) and given not in ("", ".", "..") and not re.search(r"[/\\\0]", given)
