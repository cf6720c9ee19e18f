"""Rows that stay on the disk: read back as they were, however often, and written as the same bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet
import pytest
from tests.row_types import IdRow, NumberRow

from solon.config.recipe import Recipe
from solon.errors import StageError
from solon.runs import LazySequence, RunDirectory
from solon.runs.records import from_record
from solon.runs.table import GROUP, column_of, rows_of, write_table

CONSTITUTION = """\
name: c
revision: [{id: a, critique_request: b, revision_request: c}]
preference: [{id: a, instruction: b}]
"""


@dataclass(frozen=True, slots=True)
class WordsRow:
    row_id: str
    words: tuple[str, ...]
    n: int | None


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    (tmp_path / "c.yaml").write_text(CONSTITUTION)
    return RunDirectory.create(tmp_path / "run", Recipe(), tmp_path / "c.yaml")


def row_per_item(items: Sequence[int]) -> list[IdRow]:
    return [IdRow(f"row {item}") for item in items]


def streamed(run: RunDirectory, asked: list[list[int]], size: int = 10) -> LazySequence[IdRow]:
    def work(items: Sequence[int]) -> list[IdRow]:
        asked.append(list(items))
        return row_per_item(items)

    return run.begin(1, "prompts", {}).stream("reply", range(size), work, row=IdRow, chunk=3)


def test_streamed_rows_are_those_that_map_gives_and_can_be_read_again(run: RunDirectory) -> None:
    asked: list[list[int]] = []
    rows = streamed(run, asked)
    assert asked == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert list(rows) == list(rows) == row_per_item(range(10)) and len(rows) == 10
    assert [rows[start:stop] for start, stop in ((0, 3), (2, 7), (9, 99), (5, 5))] == [
        row_per_item(range(start, stop)) for start, stop in ((0, 3), (2, 7), (9, 10), (5, 5))
    ]
    assert rows[-1] == row_per_item([9])[0] and rows[::4] == row_per_item([0, 4, 8])
    with pytest.raises(IndexError):
        rows[10]


def test_items_of_finished_chunks_are_not_looked_at_again(run: RunDirectory) -> None:
    streamed(run, [])
    looked: list[int] = []

    def make(start: int, stop: int) -> list[int]:
        looked.extend(range(start, stop))
        return list(range(start, stop))

    rows = run.begin(1, "prompts", {}).stream("reply", LazySequence(10, make), row_per_item, row=IdRow, chunk=3)
    assert not looked and list(rows) == row_per_item(range(10))


def test_a_stream_needs_a_row_for_every_item(run: RunDirectory) -> None:
    with pytest.raises(StageError, match="phase 'reply' gave 1 rows for 2 items"):
        run.begin(1, "prompts", {}).stream("reply", range(4), lambda items: row_per_item(items[:1]), row=IdRow, chunk=2)


@pytest.mark.parametrize("size", [0, 1, 7, 10_000, 23_456])
def test_a_table_written_by_row_groups_has_the_bytes_of_one_written_whole(tmp_path: Path, size: int) -> None:
    schema = pa.schema([("row_id", pa.string()), ("words", pa.list_(pa.string())), ("n", pa.int64())])
    records = [{"row_id": f"é{n}", "words": ["a", str(n % 7)][: n % 3], "n": n if n % 5 else None} for n in range(size)]
    rows = [from_record(WordsRow, record) for record in records]
    assert write_table(tmp_path / "streamed", iter(rows), WordsRow) == size
    table = pa.Table.from_pylist(records, schema=schema)
    pa.parquet.write_table(table, tmp_path / "whole", compression="zstd", row_group_size=GROUP)
    assert (tmp_path / "streamed").read_bytes() == (tmp_path / "whole").read_bytes()
    chosen = [n for n in range(size) if n % 11 == 0]
    assert list(rows_of(tmp_path / "streamed", WordsRow, chosen)) == [rows[n] for n in chosen]
    assert list(rows_of(tmp_path / "streamed", WordsRow)) == rows
    assert column_of(tmp_path / "streamed", "n") == [row.n for row in rows]


def test_a_misfit_far_down_a_table_is_named_by_its_number(tmp_path: Path) -> None:
    rows = (NumberRow(n if n != 10_400 else cast("int", "x")) for n in range(10_500))
    with pytest.raises(StageError, match="row 10401: column 'number' does not fit int64"):
        write_table(tmp_path / "table", rows, NumberRow)
    assert not list(tmp_path.iterdir())
