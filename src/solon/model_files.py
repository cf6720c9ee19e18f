"""What a model folder says of itself before it is loaded: its kind, its size and how its weights are stored.

Everything is read from config.json and from the headers of the safetensors, which takes milliseconds for a model of any
size, needs no torch, and tells a whole file from one that was cut off or never fetched.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.errors import ModelError

INDEX = "model.safetensors.index.json"
_POINTER = b"version https://git-lfs"
"""How a file begins that stands for weights which Git LFS has not fetched."""
_HEADER_LIMIT = 100_000_000
"""Bytes that the format allows for a header."""
_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_AGAIN = "Download or save the model again"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The facts of a model folder."""

    config: Mapping[str, Any]
    parameters: int
    stored: int
    """Bytes of the weights as they are stored."""
    dtype: str
    """How most parameters are stored, such as `bfloat16`."""

    @property
    def kind(self) -> str:
        """The `model_type` of the configuration, which names the architecture; empty when there is none."""
        return str(self.config.get("model_type") or "")


def read_model_files(folder: Path) -> ModelFiles:
    """The facts of a model folder with config.json and safetensors; raises ModelError for a file that is cut off."""
    config = _json(folder / "config.json")
    count, stored = Counter[str](), 0
    for file in _weight_files(folder):
        for dtype, parameters, size in _tensors(file):
            count[dtype] += parameters
            stored += size
    if not count:
        raise ModelError("the folder holds no weights (*.safetensors)", place=str(folder), remedy=_AGAIN)
    return ModelFiles(config, count.total(), stored, count.most_common(1)[0][0])


def _weight_files(folder: Path) -> list[Path]:
    """The files that hold the model's weights, by the index where there is one; raises ModelError for a missing one."""
    if not (folder / INDEX).is_file():
        whole = folder / "model.safetensors"
        return [whole] if whole.is_file() else sorted(folder.glob("*.safetensors"))
    named = _json(folder / INDEX).get("weight_map")
    names = list(named.values()) if isinstance(named, dict) else []
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise ModelError("the index names no files of weights", place=str(folder / INDEX), remedy=_AGAIN)
    files = [folder / name for name in sorted(set(names))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        lacks = f"{len(missing)} of {len(files)} files of weights are missing, such as {missing[0]}"
        raise ModelError(lacks, place=str(folder), remedy="Download the model again: what is there is kept")
    return files


def _tensors(file: Path) -> list[tuple[str, int, int]]:
    """Stored type, parameters and bytes of each tensor in a file, by its header."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(8)
        if len(start) == 8 and _POINTER.startswith(start) and size < 1024:
            raise ModelError(
                "the file only stands for weights that Git LFS has not fetched",
                place=str(file),
                remedy="Type in that folder: git lfs pull",
            )
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 2 <= length <= min(_HEADER_LIMIT, size - 8):
            raise ModelError("the file of weights is damaged or cut off", place=str(file), remedy=_AGAIN)
        header = opened.read(length)
    try:
        tensors = {name: each for name, each in json.loads(header).items() if name != "__metadata__"}
        found = [
            (_NAMES.get(each["dtype"], str(each["dtype"])), math.prod(each["shape"]), _span(each["data_offsets"]))
            for each in tensors.values()
        ]
        end = max((int(each["data_offsets"][1]) for each in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise ModelError("the header of the weights is damaged", place=str(file), remedy=_AGAIN) from None
    if 8 + length + end != size:
        whole = f"it holds {size:,} bytes, and its header tells of {8 + length + end:,}"
        raise ModelError(f"the file of weights is damaged or cut off: {whole}", place=str(file), remedy=_AGAIN)
    return found


def _span(offsets: list[int]) -> int:
    start, end = map(int, offsets)
    if not 0 <= start <= end:
        raise ValueError(offsets)
    return end - start


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ModelError("the file is no JSON object", place=str(file), remedy=_AGAIN)
    return found
