"""Rows to Parquet, the same bytes for the same rows.

Parquet files carry no time of writing; with a fixed schema, compression and row-group size their bytes depend on the
rows (and on the version of pyarrow) alone. Columns that the schema does not know are refused, not dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from solon.errors import StageError
from solon.runs.files import replacing
from solon.runs.journal import Row

if TYPE_CHECKING:
    import pyarrow as pa

GROUP = 10_000
"""Rows in one row group."""


def write_table(path: Path, rows: Sequence[Row], schema: pa.Schema) -> None:
    """Write `rows` atomically; a column that a row lacks is null. Raises StageError naming row and column."""
    import pyarrow.parquet as pq

    table = to_table(rows, schema, str(path))
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=GROUP)


def to_table(rows: Sequence[Row], schema: pa.Schema, place: str = "rows") -> pa.Table:
    """The rows as an Arrow table of exactly `schema`; raises StageError naming row and column of what does not fit."""
    import pyarrow as pa

    known = set(schema.names)
    required = [column.name for column in schema if not column.nullable]
    for number, row in enumerate(rows, start=1):
        if unknown := [name for name in row if name not in known]:
            raise StageError(f"row {number} has the unknown column '{unknown[0]}'", place=place)
        if lacking := [name for name in required if row.get(name) is None]:
            raise StageError(f"row {number} lacks the column '{lacking[0]}'", place=place)
    columns = []
    for column in schema:
        values = [row.get(column.name) for row in rows]
        try:
            columns.append(pa.array(values, column.type))
        except (pa.ArrowException, UnicodeError, ValueError, TypeError, OverflowError) as error:
            number = _first_misfit(values, column.type)
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
