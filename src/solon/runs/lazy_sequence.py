"""A sequence that makes its items when they are read, so that a table may be larger than memory.

A stage works on one chunk of its items at a time. So rows of a journal or a Parquet file, and items derived from them,
are passed as a `LazySequence`, which keeps none of the items that it makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, overload

T = TypeVar("T")

STRETCH = 128
"""Items made at once by iteration."""


@dataclass(frozen=True, slots=True)
class LazySequence(Sequence[T], Generic[T]):
    """`size` items, of which `make(start, stop)` gives a stretch, the same one every time."""

    size: int
    make: Callable[[int, int], list[T]]
    stretch: int = STRETCH

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[T]:
        for start in range(0, self.size, self.stretch):
            yield from self.make(start, min(start + self.stretch, self.size))

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            start, stop, step = index.indices(self.size)
            made = self.make(start, stop) if step == 1 and start < stop else [self[i] for i in range(start, stop, step)]
            return made
        position = range(self.size)[index]
        return self.make(position, position + 1)[0]
