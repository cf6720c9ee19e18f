"""Several processes at one run: what each must know of the others.

Process 0 is the main one: it alone writes to the run's folder, asks models outside of training, and speaks to the
person. The others go through the same stages beside it and take their share where a stage trains. All calls below but
`share` are met by every process in the same order, like the steps of a dance; nothing else passes between them. This
file needs no torch: `ALONE` stands for the one process of an ordinary run, for which every call gives back what it was
given, and `solon.training.distributed.launched` makes the real thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Sharding(StrEnum):
    """Where the weights are that processes train together."""

    REPLICATED = "replicated"
    """Each process has all of them."""
    SHARDED = "sharded"
    """Each process has a part of them (FSDP)."""


class Processes(Protocol):
    """The processes at work on one run, as one of them sees them."""

    @property
    def rank(self) -> int:
        """Which one this is, from 0."""
        ...

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    @property
    def sharding(self) -> Sharding:
        """Where the weights are."""
        ...

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """What of `items` is this process's to do: every n-th one, so that neighbours of like size are spread."""
        ...

    def gather(self, items: Sequence[T]) -> list[T]:
        """The processes' items, dealt together again as `share` dealt them out; plain JSON values only."""
        ...

    def tell(self, value: T) -> T:
        """The main process's `value`, a plain JSON value, to all; the others wait for it."""
        ...

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        ...

    def add(self, tensors: Sequence[Any]) -> None:
        """Replace each tensor by its sum over all processes, the same to the bit in each of them."""
        ...


class Alone:
    """The only process."""

    rank = 0
    count = 1
    sharding = Sharding.REPLICATED

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """See `Processes`: everything."""
        return items

    def gather(self, items: Sequence[T]) -> list[T]:
        """See `Processes`."""
        return list(items)

    def tell(self, value: T) -> T:
        """See `Processes`."""
        return value

    def any(self, flag: bool) -> bool:
        """See `Processes`."""
        return flag

    def add(self, tensors: Sequence[Any]) -> None:
        """See `Processes`: each is its own sum."""


ALONE: Processes = Alone()
