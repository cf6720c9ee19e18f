"""Several processes in one run: what each must know of the others.

Process 0 is the main process: it alone writes to the run's folder, asks models outside of training, and prints. The
others go through the same stages and take their share where a stage trains. All calls below but `share` are collective:
every process must make them in the same order. This module needs no torch: `SINGLE_PROCESS` is the only process of an
ordinary run, and every call returns what it was given; `solon.training.distributed.launched` makes the real ones.
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

    def broadcast(self, value: T) -> T:
        """The main process's `value`, a plain JSON value, to all; the others wait for it."""
        ...

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        ...

    def add(self, tensors: Sequence[Any]) -> None:
        """Replace each tensor by its sum over all processes, the same to the bit in each of them."""
        ...


class SingleProcess:
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

    def broadcast(self, value: T) -> T:
        """See `Processes`."""
        return value

    def any(self, flag: bool) -> bool:
        """See `Processes`."""
        return flag

    def add(self, tensors: Sequence[Any]) -> None:
        """See `Processes`: each is its own sum."""


SINGLE_PROCESS: Processes = SingleProcess()
