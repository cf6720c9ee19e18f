"""How large the works are: `full` for figures, `quick` for a test that all parts work together.

Quick works have the bundled model of 2 M parameters in place of every other one, and take seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

BUNDLED = "testbed:assistant"


class Scale(StrEnum):
    """Figures, or a test."""

    FULL = "full"
    QUICK = "quick"

    def model(self, name: str) -> str:
        """The model that is measured."""
        return BUNDLED if self is Scale.QUICK else name


@dataclass(frozen=True)
class Setting:
    """What all works of a run share."""

    scale: Scale
    threads: int
    repeats: int

    def pick(self, full: int, quick: int) -> int:
        """A number by the scale."""
        return quick if self.scale is Scale.QUICK else full

    @property
    def steps(self) -> int:
        """Steps of a trainer: a repeat for each, and one that warms up."""
        return self.repeats + 1
