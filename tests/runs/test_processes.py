"""A stage that several processes do: one writes and publishes it, the others end with what it published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.row_types import NumberRow
from tests.stages.workbench import Bench

from solon.errors import RunError
from solon.runs import Interrupted
from solon.runs.processes import SingleProcess


@dataclass
class Helper(SingleProcess):
    """The second of two processes, to which the first one tells `told`, and which may ask to stop."""

    told: Any = None
    other_stops: bool = False
    rank = 1
    count = 2

    def broadcast(self, value: Any) -> Any:
        return self.told

    def any(self, flag: bool) -> bool:
        return flag or self.other_stops


def test_a_helper_ends_with_what_the_main_process_published(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    published = bench.out("work").publish([NumberRow(1)], NumberRow)
    helping = bench.run.help(1, "work", {}, Helper(published.hash))
    assert helping.follows and not bench.run.begin(2, "more", {}).follows
    assert helping.follow().rows(NumberRow) == [NumberRow(1)]


@pytest.mark.parametrize("published", [True, False])
def test_a_helper_that_sees_something_else_says_so(tmp_path: Path, published: bool) -> None:
    bench = Bench(tmp_path)
    if published:
        bench.out("work").publish([NumberRow(1)], NumberRow)
    with pytest.raises(RunError):
        bench.run.help(1, "work", {}, Helper("another hash")).follow()


def test_a_helper_leaves_the_folder_as_it_is(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    out = bench.out("work")
    out.map("phase", [1, 2], lambda part: [NumberRow(each) for each in part], row=NumberRow, chunk=1)
    before = {path.name: path.read_bytes() for path in out.path.iterdir()}
    helping = bench.run.help(1, "work", {}, Helper())
    helping._since -= 1000
    helping.report(1, 2)
    assert {path.name: path.read_bytes() for path in out.path.iterdir()} == before


def test_one_process_that_was_asked_to_stop_stops_all(tmp_path: Path) -> None:
    helping = Bench(tmp_path).run.help(1, "work", {}, Helper(other_stops=True))
    assert helping.stopping
    with pytest.raises(Interrupted):
        helping.report(1, 2)
