"""Rows of a CSV file, as spreadsheets and pandas write them, each with the line on which it begins.

The first row names the columns. Cells may be quoted and contain commas and line breaks. Commas separate cells, or
semicolons or tabs where the first row has no comma. A list of messages as JSON is read as a list, and an empty cell is
null. A row with more or fewer cells than the first is a bad row.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from solon.config.strict_json import LONGEST, decode, parse
from solon.errors import InputError

_LISTS = ("[{", "[ {", "[\n")


Rows = Iterator[tuple[int, Mapping[str, Any] | InputError]]
"""The line on which a row begins, and the row or its error."""


def csv_rows(lines: Iterator[tuple[int, bytes]], path: str) -> tuple[list[str], Rows] | None:
    """The names of the columns and the rows of a file's numbered lines; None for a file without any.

    Raises InputError, also during iteration, for text that is not UTF-8 and for broken quotes.
    """
    csv.field_size_limit(LONGEST)  # the limit of the whole process; the default is 128 KiB
    texts = _texts(lines, path)
    first = next((text for text in texts if text.strip()), None)
    if first is None:
        return None
    reader = csv.reader(chain([first], texts), delimiter=_delimiter(first), strict=True)
    numbered = _cells(reader, path)
    number, head = next(numbered)
    names = _names(head, f"{path}:{number}")
    return [name for name in names if name], (
        (number, _row(names, cells, f"{path}:{number}")) for number, cells in numbered
    )


def _cells(reader: Any, path: str) -> Iterator[tuple[int, list[str]]]:
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            cause, remedy = f"broken CSV: {error}", "Check the quotes from this line on"
            raise InputError(cause, place=f"{path}:{number}", remedy=remedy) from None
        if cells is None:
            return
        if cells:
            yield number, cells


def _texts(lines: Iterator[tuple[int, bytes]], path: str) -> Iterator[str]:
    for number, line in lines:
        yield decode(line, f"{path}:{number}")


def _delimiter(head: str) -> str:
    return next((each for each in (",", ";", "\t") if each in head), ",")


def _names(cells: list[str], place: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    for name in names:
        if name and names.count(name) > 1:
            raise InputError(f"two columns are called '{name:.60}'", place=place, remedy="Rename one of them")
    return names


def _row(head: list[str], cells: list[str], place: str) -> Mapping[str, Any] | InputError:
    if len(cells) != len(head):
        return InputError(
            f"the row has {len(cells)} cells, and the first row names {len(head)} columns",
            place=place,
            remedy="Quote cells that contain commas or line breaks",
        )
    try:
        return {name: _value(cell, place) for name, cell in zip(head, cells, strict=True) if name}
    except InputError as error:
        return error


def _value(cell: str, place: str) -> Any:
    if not cell.strip():
        return None
    return parse(cell, place, remedy="Write a list of messages as JSON") if cell.lstrip().startswith(_LISTS) else cell
