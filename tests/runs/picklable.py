"""Work and engines of module level, which can be sent to another process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from solon.conversation import Prompt
from solon.errors import EngineError


def reply(prompt: Prompt, seed: int) -> str:
    """A reply that depends on the prompt and the seed."""
    return f"reply {seed % 1000003} to {prompt.turns[-1].content[:20]}"


@dataclass(frozen=True, slots=True)
class SquareRow:
    """A number, its square, and the process that squared it."""

    number: int
    square: int
    process: int


@dataclass(frozen=True, slots=True)
class Square:
    """Squares numbers, and says which process did; it fails at one of them."""

    fails_at: int = -1
    dies_at: int = -1

    def __call__(self, batch: Sequence[int]) -> list[SquareRow]:
        """One row for each number."""
        if self.fails_at in batch:
            raise EngineError("no answer", place="toy", remedy="Ask again")
        if self.dies_at in batch:
            os._exit(9)
        return [SquareRow(number, number * number, os.getpid()) for number in batch]
