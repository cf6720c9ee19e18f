"""Reads the headers of safetensors files, without reading a weight.

The format is eight bytes with the header's length, the header as JSON, then the tensors' bytes. The check is
that the tensors fill the file exactly, so that later steps can rely on their number and sizes.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.errors import ModelError

LONGEST = 100_000_000
"""The most bytes of a header, by the format."""
BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
}  # fmt: skip
"""Bits of an element, by the format's name of its type."""
_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_POINTER = b"version https://git-lfs"
"""The beginning of a Git LFS pointer file."""
_REMEDY = "Restore the file from a copy, or save the model again with save_pretrained"


@dataclass(frozen=True, slots=True)
class Contents:
    """Tensors in some files: how many, their elements and bytes in all, the longest side, and their type."""

    tensors: int
    elements: int
    longest: int
    size: int
    dtype: str
    """The type of most elements, such as `bfloat16`; empty when there are none."""


def contents_of(files: Iterable[Path]) -> Contents:
    """The contents of safetensors files; raises ModelError with the name of a damaged file."""
    tensors = [tensor for file in files for tensor in _tensors(file)]
    stored = Counter[str]()
    for shape, dtype, _ in tensors:
        stored[dtype] += math.prod(shape)
    ((most, _),) = stored.most_common(1) or [("", 0)]
    return Contents(
        tensors=len(tensors),
        elements=stored.total(),
        longest=max((side for shape, _, _ in tensors for side in shape), default=0),
        size=sum(size for _, _, size in tensors),
        dtype=_NAMES.get(most, most),
    )


def shapes_of(files: Iterable[Path]) -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape of each tensor in safetensors files; raises ModelError with the name of a damaged file."""
    found = []
    for file in files:
        for name, tensor in _header(file)[0].items():
            if name != "__metadata__":
                shape, _ = _tensor(tensor)
                if shape is None:
                    raise _damaged(file, f"its header describes the tensor {name[:60]!r} wrongly")
                found.append((name, tuple(shape)))
    return found


def _tensors(file: Path) -> list[tuple[list[int], str, int]]:
    """Shape, type and bytes of each tensor in a file."""
    header, data = _header(file)
    tensors: list[tuple[list[int], str, int]] = []
    spans = []
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        shape, span = _tensor(tensor)
        if shape is None:
            raise _damaged(file, f"its header describes the tensor {name[:60]!r} wrongly")
        tensors.append((shape, str(tensor["dtype"]), span[1] - span[0]))
        spans.append(span)
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise _damaged(file, "its tensors overlap or leave gaps")
        end = stop
    if end != data:
        raise _damaged(file, f"its tensors have {end} bytes and the file has {data}; it may be cut off")
    return tensors


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """The header, and how many bytes follow it."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(8)
            if len(start) == 8 and _POINTER.startswith(start) and size < 1024:
                raise ModelError(
                    "the file is a Git LFS pointer: the weights are not fetched",
                    place=str(file),
                    remedy="Type in that folder: git lfs pull",
                )
            length = int.from_bytes(start, "little")
            if size < 8 or length > min(size - 8, LONGEST):
                raise _damaged(file, "it is not a safetensors file, or it is cut off")
            header = json.loads(stream.read(length))
    except OSError as error:
        raise _damaged(file, error.strerror or str(error)) from None
    except (ValueError, RecursionError):
        raise _damaged(file, "its header is not JSON") from None
    if not isinstance(header, dict):
        raise _damaged(file, "its header is not a JSON object")
    return header, size - 8 - length


def _tensor(given: object) -> tuple[list[int] | None, tuple[int, int]]:
    """Shape and span of a tensor; None as shape when they are wrong or disagree."""
    wrong = (None, (0, 0))
    if not isinstance(given, dict):
        return wrong
    shape: Any = given.get("shape")
    span: Any = given.get("data_offsets")
    bits = BITS.get(str(given.get("dtype")))
    if bits is None or not _counts(shape) or not _counts(span) or len(span) != 2:
        return wrong
    start, stop = span
    if stop - start != math.prod(shape) * bits // 8:
        return wrong
    return shape, (start, stop)


def _counts(given: Any) -> bool:
    return isinstance(given, list) and all(type(each) is int and each >= 0 for each in given)


def _damaged(file: Path, why: str) -> ModelError:
    return ModelError(f"the weights cannot be read: {why}", place=str(file), remedy=_REMEDY)
