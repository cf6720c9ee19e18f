"""A sequence that makes its items when they are read, so that a table may be larger than memory.

A stage works on one chunk of its items at a time. So rows of a journal or a Parquet file, and items derived from them,
are passed as a `LazySequence`, which keeps none of the items that it makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, overload

T = TypeVar("T")

RANGE = 128
"""The number of items that iteration makes at once."""


@dataclass(frozen=True, slots=True)
class LazySequence(Sequence[T], Generic[T]):
    """`size` items; `make(start, stop)` returns a range of them, the same every time."""

    size: int
    make: Callable[[int, int], list[T]]
    range_size: int = RANGE

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[T]:
        for start in range(0, self.size, self.range_size):
            yield from self.make(start, min(start + self.range_size, self.size))

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            start, stop, step = index.indices(self.size)
            if step == 1 and start < stop:
                return self.make(start, stop)
            return [self[position] for position in range(start, stop, step)]
        position = range(self.size)[index]
        return self.make(position, position + 1)[0]
