"""Rows that wait to be decoded, and how many of them are admitted next.

The rows that need the most columns go first: later ones then fit into the columns that are there, and more of them fit
into memory. An admission is a pass of its own, so it waits until an eighth of the slots is free.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from solon.engines.local.common_heads import longest, place_of
from solon.engines.local.kv_cache import CacheSize
from solon.engines.local.row_budget import RowBudget
from solon.engines.local.split_rows import SplitRow, Zones

_ADMITTED = 8
"""Rows are admitted once one slot in so many is free."""
_SPARE = 8
"""One column in so many is spare, so that columns that nobody sees any more are given up seldom."""


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """A row by its number, and the most tokens to generate."""

    number: int
    row: SplitRow
    limit: int


@dataclass(frozen=True, slots=True)
class AdmittedRows:
    """Rows to admit together, the columns that each needs at most, and the room for all in flight."""

    rows: Sequence[WaitingRow]
    needs: Sequence[int]
    room: CacheSize


class Waiting:
    """The rows of a call, in the order in which they are admitted."""

    def __init__(self, rows: Sequence[WaitingRow], budget: RowBudget) -> None:
        needs = longest([(each.row, each.row.size + each.limit) for each in rows])
        self._rows = deque(sorted(rows, key=lambda each: place_of(each.row, needs)))
        self._budget = budget

    def __bool__(self) -> bool:
        return bool(self._rows)

    def next(self, flying: int, need: int) -> AdmittedRows | None:
        """The rows to admit beside `flying` ones that need up to `need` columns; None while too few slots are free."""
        if not self._rows:
            return None
        taken, width, limit = 0, Zones(0, 0, 0), 0
        slots = self._slots(max(need, self._rows[0].row.size + self._rows[0].limit))
        if flying and slots - flying < max(1, min(slots // _ADMITTED, len(self._rows))):
            return None
        columns = need
        for each in self._rows:
            wider, longer = width.widened(each.row), max(limit, each.limit)
            most = max(need, wider.width + longer)
            if flying + taken >= self._slots(most) and flying + taken:
                break
            taken, width, limit, columns = taken + 1, wider, longer, most
        if not taken:
            return None
        rows = [self._rows.popleft() for _ in range(taken)]
        needs = [width.width - width.first(each.row) + each.limit for each in rows]
        slots = min(self._slots(columns), flying + taken + len(self._rows))
        return AdmittedRows(rows, needs, CacheSize(slots, _with_spare(columns)))

    def _slots(self, columns: int) -> int:
        return self._budget.most(_with_spare(columns))


def _with_spare(columns: int) -> int:
    return columns + columns // _SPARE + _SPARE
