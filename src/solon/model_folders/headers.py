"""What a folder's safetensors files say of themselves, read from their headers without reading a weight.

The format is eight bytes with the header's length, the header as JSON, then the tensors' bytes. A header is checked
here for what a later step relies on: that the tensors fill the file exactly, so their number and sizes are those on the
disk and no file can promise more than it holds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.errors import ModelError

LONGEST = 100_000_000
"""Bytes of a header, as the format has it."""
BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
}  # fmt: skip
"""Bits of an element, by the format's name of its type."""
_REMEDY = "Restore the file from a copy, or save the model again with save_pretrained"


@dataclass(frozen=True, slots=True)
class Contents:
    """Tensors in some files: how many, their elements in all, and the longest side of any."""

    tensors: int
    elements: int
    longest: int


def contents_of(files: Iterable[Path]) -> Contents:
    """What safetensors files hold; raises ModelError naming the file that is damaged."""
    shapes = [shape for file in files for shape in _shapes(file)]
    return Contents(
        tensors=len(shapes),
        elements=sum(map(math.prod, shapes)),
        longest=max((side for shape in shapes for side in shape), default=0),
    )


def _shapes(file: Path) -> list[list[int]]:
    header, data = _header(file)
    shapes = []
    spans = []
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        shape, span = _tensor(tensor)
        if shape is None:
            raise _damaged(file, f"its header describes the tensor {name[:60]!r} wrongly")
        shapes.append(shape)
        spans.append(span)
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise _damaged(file, "its tensors overlap or leave gaps")
        end = stop
    if end != data:
        raise _damaged(file, f"its tensors have {end} bytes and the file has {data}; it may be cut off")
    return shapes


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """The header, and how many bytes follow it."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(size - 8, LONGEST):
                raise _damaged(file, "it is no safetensors file, or cut off")
            header = json.loads(stream.read(length))
    except OSError as error:
        raise _damaged(file, error.strerror or str(error)) from None
    except (ValueError, RecursionError):
        raise _damaged(file, "its header is no JSON") from None
    if not isinstance(header, dict):
        raise _damaged(file, "its header is no JSON object")
    return header, size - 8 - length


def _tensor(given: object) -> tuple[list[int] | None, tuple[int, int]]:
    """Shape and span of a tensor; no shape when they disagree, or are none."""
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
