"""The interface between the processes of a distributed run.

Process 0 is the main process: only it writes to the run's folder, asks models outside of training, and prints. The
other processes go through the same stages and share the training. All methods but `share` are collective: every process
must call them in the same order. This module does not import torch. `SINGLE_PROCESS` is the process of an ordinary run:
its methods return their arguments. `solon.training.distributed.launched` makes several processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Sharding(StrEnum):
    """How the processes hold the weights that they train."""

    REPLICATED = "replicated"
    """Each process has all of them."""
    SHARDED = "sharded"
    """Each process has a part of them (FSDP)."""


class Processes(Protocol):
    """The processes of one run, seen from one of them."""

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        ...

    @property
    def count(self) -> int:
        """The number of processes."""
        ...

    @property
    def sharding(self) -> Sharding:
        """How the weights are held."""
        ...

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of `items`: every n-th one, so that items of similar size are spread out."""
        ...

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all processes, in the order before `share`; plain JSON values only."""
        ...

    def broadcast(self, value: T) -> T:
        """The main process's `value`, a plain JSON value, in every process."""
        ...

    def any(self, flag: bool) -> bool:
        """Whether the flag is true in any process."""
        ...

    def add(self, tensors: Sequence[Any]) -> None:
        """Replace each tensor by its sum over all processes; the bits are the same in every process."""
        ...


class SingleProcess:
    """The only process."""

    rank = 0
    count = 1
    sharding = Sharding.REPLICATED

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """See `Processes`: all items."""
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
        """See `Processes`: nothing to add."""


SINGLE_PROCESS: Processes = SingleProcess()
