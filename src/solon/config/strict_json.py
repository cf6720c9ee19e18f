r"""A strict JSON reader for all files of the user: prompts, pairs, labels and questions.

JSON that two programs may read differently is an error with its place: duplicate keys, NaN and infinite numbers,
numbers that are too large, lone surrogates, and values that are nested too deep. Texts are UTF-8; a byte order mark is
removed, and the error about UTF-16 names it.
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
"""The most bytes of a row; a longer one is a mistake or an attack, and is not read into memory."""
DEEPEST = 64
"""The deepest nesting."""
DIGITS = 40
"""The most digits of an integer: more than 128 bits need."""
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.S)
_AFTER_KEY = re.compile(r"\s*:")
_HALF = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_HALF_ALONE = re.compile(r"[\ud800-\udfff]")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
SPACE = " \t\r\n"


class Constants(StrEnum):
    """How NaN and Infinity are read, which are not JSON but common."""

    REFUSED = "refused"
    KEPT = "kept"
    """As floats; the caller refuses them in columns that it reads."""


class _Refused(ValueError):
    """A value that is refused although it is JSON."""


class _Twice(_Refused):
    """A duplicate key in an object."""


def decode(raw: bytes, place: str) -> str:
    """The text of UTF-8 bytes without a byte order mark; raises InputError for other bytes, and names UTF-16."""
    if raw.startswith(_UTF16) or (raw[:64].count(0) and b"\0" in (raw[:1], raw[1:2])):
        raise InputError("not UTF-8 text: it is UTF-16", place=place, remedy="Save the file as UTF-8")
    try:
        return raw.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        cause = f"not UTF-8 text: {error.reason} at byte {error.start + 1}"
        raise InputError(cause, place=place, remedy="Save the file as UTF-8") from None


def parse(text: str, place: str, *, constants: Constants = Constants.REFUSED, remedy: str = "") -> Any:
    """The value in a text, mostly a line; raises InputError naming its place."""
    value, end = parse_at(
        text, len(text) - len(text.lstrip(SPACE)), lambda _: place, constants=constants, remedy=remedy
    )
    if rest := text[end:].strip(SPACE):
        raise InputError(f"broken JSON: more text follows the value: {rest:.20}", place=place, remedy=remedy)
    return value


def parse_file(text: str, path: str) -> Any:
    """The value in a whole file; raises InputError naming `path:line`."""

    def place_of(offset: int) -> str:
        return f"{path}:{1 + text.count(chr(10), 0, offset)}"

    value, end = parse_at(text, len(text) - len(text.lstrip(SPACE)), place_of)
    if text[end:].strip(SPACE):
        more = end + len(text[end:]) - len(text[end:].lstrip(SPACE))
        raise InputError("broken JSON: more text follows the value", place=place_of(more))
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

    The caller checks the texts that it uses for lone surrogates (`half_character`).
    """
    try:
        value, end = _decoder(constants).raw_decode(text, start)
    except json.JSONDecodeError as error:
        column = error.pos - text.rfind("\n", 0, error.pos)
        cause = f"broken JSON: {error.msg[:1].lower()}{error.msg[1:]} at column {column}"
        raise InputError(cause, place=place_of(error.pos), remedy=remedy) from None
    except _Twice:
        offset, key = _repeated(text, start)
        cause = f"duplicate key '{key:.60}' in an object"
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


def whole_characters(value: Any) -> Any:
    """The value with U+FFFD in place of each lone surrogate in its texts, keys included; no UTF-8 holds those."""
    if isinstance(value, str):
        return _HALF_ALONE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {whole_characters(key): whole_characters(each) for key, each in value.items()}
    if isinstance(value, list):
        return [whole_characters(each) for each in value]
    return value


def may_hold_half(text: str) -> bool:
    """Whether JSON text may contain lone surrogates; quick, and true for surrogate pairs too."""
    return _HALF.search(text) is not None


def describe_half(character: str) -> str:
    """A lone surrogate in words."""
    return f"half a character (lone surrogate U+{ord(character):04X})"


def not_finite(value: object) -> float | None:
    """The first NaN or infinite number in a value, or None."""
    return next((each for each in _walk(value) if isinstance(each, float) and not math.isfinite(each)), None)


def _decoder(constants: Constants) -> json.JSONDecoder:
    constant = float if constants is Constants.KEPT else _refuse_constant
    return json.JSONDecoder(object_pairs_hook=_unique, parse_constant=constant, parse_int=_whole, parse_float=_number)


def _refuse_constant(written: str) -> float:
    raise _Refused(f"{written} is not JSON")


def _whole(written: str) -> int:
    if len(written) > DIGITS:
        raise _Refused(f"an integer of {len(written):,} digits is too large to read")
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
    """The offset and name of the first duplicate key; the text before it is well-formed."""
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
