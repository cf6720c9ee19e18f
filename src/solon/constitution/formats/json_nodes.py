"""JSON files of other systems: errors name the file and the place in it, and two values are compared part by part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.config.json_lines import json_line
from solon.config.strict_json import LONGEST, decode, parse_file
from solon.errors import InputError


@dataclass(frozen=True, slots=True)
class Node:
    """A value in a JSON file and its place, such as `file: item 2, 'prompt'`."""

    value: Any
    place: str

    def fault(self, cause: str, remedy: str = "") -> InputError:
        """The error for a fault here."""
        return InputError(cause, place=self.place, remedy=remedy)

    def mapping(self) -> Mapping[str, Any]:
        """The value as an object; raises InputError for anything else."""
        if not isinstance(self.value, dict):
            raise self.fault(f"an object is expected here, not {_kind(self.value)}")
        return self.value

    def has(self, key: str) -> bool:
        """Whether the value is an object with this key."""
        return isinstance(self.value, dict) and key in self.value

    def at(self, key: str) -> Node:
        """The value under a key; raises InputError when there is none."""
        if key not in self.mapping():
            raise self.fault(f"the key '{key}' is missing")
        return Node(self.value[key], f"{self.place}, '{key}'")

    def items(self) -> Iterator[tuple[str, Node]]:
        """The entries of an object."""
        for key in self.mapping():
            yield key, self.at(key)

    def each(self) -> list[Node]:
        """The items of a list, counted from 1; raises InputError for anything else."""
        if not isinstance(self.value, list):
            raise self.fault(f"a list is expected here, not {_kind(self.value)}")
        return [Node(item, f"{self.place}, item {number}") for number, item in enumerate(self.value, start=1)]

    def only(self) -> Node:
        """The item of a list of one."""
        items = self.each()
        if len(items) != 1:
            raise self.fault(f"a list of one item is expected here, not of {len(items)}")
        return items[0]

    def text(self) -> str:
        """The value as text that is not blank; raises InputError for anything else."""
        if not isinstance(self.value, str):
            raise self.fault(f"a text is expected here, not {_kind(self.value)}")
        if not self.value.strip():
            raise self.fault("the text is empty")
        return self.value


def read_json(path: Path) -> Node:
    """The content of a JSON file; raises InputError with `file:line` for one that is missing, unreadable or broken."""
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
    except FileNotFoundError:
        raise InputError("no such file", place=str(path)) from None
    except OSError as error:
        raise InputError(f"cannot read the file: {error.strerror or error}", place=str(path)) from None
    if len(content) > LONGEST:
        raise InputError(f"the file has more than {LONGEST >> 20} MiB", place=str(path), remedy="Is it the right file?")
    return Node(parse_file(decode(content, str(path)), str(path)), str(path))


def parse_json(content: bytes | str, place: str) -> Node:
    """A line of JSON as a node; raises InputError at `place` for a broken one."""
    line = json_line(content, place)
    line.refuse_half_characters()
    return Node(line.value, place)


def differing(read: object, written: object, place: str = "") -> Iterator[str]:
    """The losses: what is in `read` (a file's JSON) and not in `written` (the same parts, written again)."""
    if isinstance(read, dict) and isinstance(written, dict):
        for key, value in read.items():
            here = f"{place}, '{key}'" if place else f"'{key}'"
            if key in written:
                yield from differing(value, written[key], here)
            else:
                yield f"{here}: not supported, and left out"
        return
    if isinstance(read, list) and isinstance(written, list):
        for number, value in enumerate(read, start=1):
            here = f"{place}, item {number}" if place else f"item {number}"
            if number <= len(written):
                yield from differing(value, written[number - 1], here)
            else:
                yield f"{here}: not supported, and left out"
        return
    if read == written:
        return
    if isinstance(read, str) and isinstance(written, str):
        if read.split() == written.split():
            yield f"{place}: white space is not kept"
        else:
            yield f"{place}: the frame of the text is not kept; it would be written as {_excerpt(read, written)}"
        return
    yield f"{place}: {_kind(read)} is not kept"


def _excerpt(read: str, written: str) -> str:
    """The part of `written` around the first difference."""
    pairs: Sequence[tuple[str, str]] = list(zip(read, written, strict=False))
    start = next((place for place, (a, b) in enumerate(pairs) if a != b), len(pairs))
    return repr(f"…{written[max(0, start - 20) : start + 20]}…")


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
