"""Writes and reads Parquet tables: the same rows give the same bytes.

A Parquet file has no time of writing. With a fixed schema, compression and row-group size its bytes depend only on the
rows and on the version of pyarrow. The schema comes from the type of the rows (`solon.runs.records`). A table is
written and read one row group at a time, so it may be larger than memory.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from solon.errors import StageError
from solon.runs.files import replacing
from solon.runs.lazy_sequence import LazySequence
from solon.runs.records import Record, from_record, schema_of, to_record

if TYPE_CHECKING:
    import pyarrow as pa

R = TypeVar("R")

GROUP = 10_000
"""Rows in a row group."""


def write_table(path: Path, rows: Iterable[R], row: type[R]) -> int:
    """Write rows of the type `row` atomically and count them; raises StageError naming row and column."""
    import pyarrow.parquet as pq

    written, rest, schema = 0, map(to_record, rows), schema_of(row)
    # An absolute path, here and below: Arrow takes `a:b` for an address and `~` for a home folder.
    with replacing(path) as temporary, pq.ParquetWriter(temporary.absolute(), schema, compression="zstd") as writer:
        while group := list(islice(rest, GROUP)):
            writer.write_table(to_table(group, schema, str(path), written + 1), row_group_size=GROUP)
            written += len(group)
        if not written:
            writer.write_table(to_table([], schema))
    return written


def column_of(path: Path, name: str) -> list[Any]:
    """One column of a Parquet file, in order."""
    values: list[Any] = whole_table(path, [name])[name].to_pylist()
    return values


def read_table(path: Path, row: type[R]) -> list[R]:
    """All rows of a Parquet file; raises RunError when a column is missing or has another type."""
    place = str(path)
    return [from_record(row, record, place) for record in whole_table(path).to_pylist()]


def whole_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """All rows of a Parquet file; Arrow's `read_table` would load pandas first, which takes longer than the rest."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path.absolute()) as file:
        return file.read(columns)


def rows_of(path: Path, row: type[R], numbers: Sequence[int] | None = None) -> LazySequence[R]:
    """The rows of a Parquet file with the given ascending numbers, or all, read when they are used.

    The last row group is kept in memory, as an Arrow table.
    """
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path.absolute())
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    starts = list(accumulate(sizes, initial=0))
    chosen = range(starts[-1]) if numbers is None else numbers
    kept: tuple[int, pa.Table] | None = None

    def read(start: int, stop: int) -> list[R]:
        nonlocal kept
        rows: list[R] = []
        for group, wanted in groupby(chosen[start:stop], key=lambda number: bisect_right(starts, number) - 1):
            if kept is None or kept[0] != group:
                kept = group, file.read_row_group(group)
            records = kept[1].take([number - starts[group] for number in wanted]).to_pylist()
            rows += [from_record(row, record, str(path)) for record in records]
        return rows

    return LazySequence(len(chosen), read)


def to_table(rows: Sequence[Record], schema: pa.Schema, place: str = "rows", first: int = 1) -> pa.Table:
    """Rows as an Arrow table with exactly this schema; raises StageError naming the row and column of a wrong value.

    `first` is the number of the first row, for messages.
    """
    import pyarrow as pa

    known = set(schema.names)
    required = [column.name for column in schema if not column.nullable]
    for number, row in enumerate(rows, start=first):
        if unknown := [name for name in row if name not in known]:
            raise StageError(f"row {number} has the unknown column '{unknown[0]}'", place=place)
        if missing := [name for name in required if row.get(name) is None]:
            raise StageError(f"row {number} is missing the column '{missing[0]}'", place=place)
    columns = []
    for column in schema:
        values = [row.get(column.name) for row in rows]
        try:
            columns.append(pa.array(values, column.type))
        except (pa.ArrowException, UnicodeError, ValueError, TypeError, OverflowError) as error:
            number = first - 1 + _first_misfit(values, column.type)
            cause = f"row {number}: column '{column.name}' does not fit {column.type}: {error}"
            raise StageError(cause, place=place) from error
    return pa.Table.from_arrays(columns, schema=schema)


def _first_misfit(values: Sequence[object], kind: pa.DataType) -> int:
    import pyarrow as pa

    for number, value in enumerate(values, start=1):
        try:
            pa.array([value], kind)
        except (pa.ArrowException, UnicodeError, ValueError, TypeError, OverflowError):
            return number
    return len(values)
