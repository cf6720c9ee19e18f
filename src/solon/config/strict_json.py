r"""JSON that people bring, read strictly: the one reader behind every file of prompts, pairs, labels and questions.

What JSON allows and two programs may read differently is refused with its place instead of guessed at: a key that
stands twice, NaN and infinite numbers, numbers too large to keep, half characters (lone surrogates), and values nested
beyond reason. Texts are UTF-8; a byte order mark is dropped and UTF-16 is told by name.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

from solon.errors import InputError

LONGEST = 64 << 20
"""Bytes of one row at most; a longer one is a mistake or an attack, and is not read into memory."""
DEEPEST = 64
"""Levels of nesting at most."""
DIGITS = 40
"""Digits of a whole number at most: more than 128 bits hold."""
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.S)
_AFTER_KEY = re.compile(r"\s*:")
_HALF = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
SPACE = " \t\r\n"


class Constants(StrEnum):
    """What becomes of NaN and Infinity, which are no JSON and yet often written."""

    REFUSED = "refused"
    KEPT = "kept"
    """As floats, for a caller that refuses them where it reads and drops them elsewhere."""


class _Refused(ValueError):
    """A value that is JSON and is not read."""


class _Twice(_Refused):
    """A key that stands twice in one object."""


def decode(raw: bytes, place: str) -> str:
    """Text of UTF-8 bytes without a byte order mark; raises InputError for other bytes, naming UTF-16 where it is."""
    if raw.startswith(_UTF16) or (raw[:64].count(0) and b"\0" in (raw[:1], raw[1:2])):
        raise InputError("not UTF-8 text: it is UTF-16", place=place, remedy="Save the file as UTF-8")
    try:
        return raw.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        cause = f"not UTF-8 text: {error.reason} at byte {error.start + 1}"
        raise InputError(cause, place=place, remedy="Save the file as UTF-8") from None


def parse(text: str, place: str, *, constants: Constants = Constants.REFUSED, remedy: str = "") -> Any:
    """The value in a text that stands at one place, mostly a line; raises InputError naming it."""
    value, end = parse_at(
        text, len(text) - len(text.lstrip(SPACE)), lambda _: place, constants=constants, remedy=remedy
    )
    if rest := text[end:].strip(SPACE):
        raise InputError(f"broken JSON: something stands after the value: {rest:.20}", place=place, remedy=remedy)
    return value


def parse_file(text: str, path: str) -> Any:
    """The value in a whole file; raises InputError naming `path:line`."""

    def place_of(offset: int) -> str:
        return f"{path}:{1 + text.count(chr(10), 0, offset)}"

    value, end = parse_at(text, len(text) - len(text.lstrip(SPACE)), place_of)
    if text[end:].strip(SPACE):
        more = end + len(text[end:]) - len(text[end:].lstrip(SPACE))
        raise InputError("broken JSON: something stands after the value", place=place_of(more))
    if _HALF.search(text) and (found := half_character(value)):
        raise InputError(describe_half(found), place=place_of(_offset_of_half(text)), remedy="Write it as UTF-8")
    return value


def parse_at(
    text: str,
    start: int,
    place_of: Callable[[int], str],
    *,
    constants: Constants = Constants.REFUSED,
    remedy: str = "",
) -> tuple[Any, int]:
    """The value that begins at `start` and where it ends; raises InputError with the place of the fault's offset.

    Half characters are left to the caller, who knows which texts are used: see `half_character`.
    """
    try:
        value, end = _decoder(constants).raw_decode(text, start)
    except json.JSONDecodeError as error:
        column = error.pos - text.rfind("\n", 0, error.pos)
        cause = f"broken JSON: {error.msg[:1].lower()}{error.msg[1:]} at column {column}"
        raise InputError(cause, place=place_of(error.pos), remedy=remedy) from None
    except _Twice:
        offset, key = _repeated(text, start)
        cause = f"the key '{key:.60}' stands twice in one object"
        raise InputError(cause, place=place_of(offset), remedy="Keep one of the two") from None
    except _Refused as error:
        raise InputError(str(error), place=place_of(start), remedy=remedy) from None
    except RecursionError:
        raise _too_deep(place_of(start)) from None
    if text.count("[", start, end) + text.count("{", start, end) > DEEPEST and _depth(value) > DEEPEST:
        raise _too_deep(place_of(start))
    return value, end


def half_character(value: object) -> str | None:
    """The first lone surrogate in any text of a value, keys included, or None."""
    for each in _walk(value):
        if isinstance(each, str):
            try:
                each.encode("utf-8")
            except UnicodeEncodeError as error:
                return each[error.start]
    return None


def may_hold_half(text: str) -> bool:
    """Whether JSON text has escapes that could be half characters; quick, and true for whole pairs too."""
    return _HALF.search(text) is not None


def describe_half(character: str) -> str:
    """What is said of a lone surrogate."""
    return f"half a character (lone surrogate U+{ord(character):04X})"


def not_finite(value: object) -> float | None:
    """The first NaN or infinite number in a value, or None."""
    return next((each for each in _walk(value) if isinstance(each, float) and not math.isfinite(each)), None)


def _decoder(constants: Constants) -> json.JSONDecoder:
    constant = float if constants is Constants.KEPT else _refuse_constant
    return json.JSONDecoder(object_pairs_hook=_unique, parse_constant=constant, parse_int=_whole, parse_float=_number)


def _refuse_constant(written: str) -> float:
    raise _Refused(f"{written} is no JSON value")


def _whole(written: str) -> int:
    if len(written) > DIGITS:
        raise _Refused(f"a whole number of {len(written):,} digits is too large to read")
    return int(written)


def _number(written: str) -> float:
    number = float(written)
    if not math.isfinite(number):
        raise _Refused(f"the number {written:.40} is too large to read")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twice
    return found


def _walk(value: object) -> Iterator[object]:
    """Everything in a value, without recursion."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        yield each
        if isinstance(each, dict):
            waiting += [*each.values(), *each]
        elif isinstance(each, list | tuple):
            waiting += each


def _depth(value: object) -> int:
    level, depth = [value], 0
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth


def _too_deep(place: str) -> InputError:
    return InputError(f"values are nested too deep: more than {DEEPEST} levels", place=place)


def _repeated(text: str, start: int) -> tuple[int, str]:
    """Where the first key stands that its object has already, and the key; up to there the text is well-formed."""
    opened: list[set[str] | None] = []
    for match in _STRING.finditer(text, start):
        token = match[0]
        if token in "{[":
            opened.append(set() if token == "{" else None)
        elif token in "}]":
            opened.pop()
        elif opened and (keys := opened[-1]) is not None and _AFTER_KEY.match(text, match.end()):
            key = json.loads(token, strict=False)
            if key in keys:
                return match.start(), key
            keys.add(key)
    return start, ""


def _offset_of_half(text: str) -> int:
    for match in _STRING.finditer(text):
        if match[0].startswith('"') and half_character(json.loads(match[0], strict=False)):
            return match.start()
    return 0
