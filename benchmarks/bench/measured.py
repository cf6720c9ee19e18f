"""What a work measures, and the ratio of two contestants with its interval.

Repeats alternate, so the repeats of one number were taken one after the other, under the same load. The bootstrap draws
such pairs of repeats, and takes the ratio of medians of each draw.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.peers.protocol import Answer

DRAWS = 10_000


class Measure(StrEnum):
    """What of an answer is compared."""

    RATE = "rate"
    """How much is done in a second; more is better."""
    SECONDS = "seconds"
    """The time for the whole work; less is better."""
    MEMORY = "memory"
    """The peak memory in MB; less is better."""

    def of(self, answer: Answer) -> float:
        """The figure of one repeat."""
        if self is Measure.RATE:
            return answer.amount / answer.seconds
        return answer.seconds if self is Measure.SECONDS else answer.peak_mb


@dataclass(frozen=True)
class Ratio:
    """How many times better Solon is than the peer, with a 95 % interval; above 1 Solon wins."""

    value: float
    low: float
    high: float


def ratio_of(measure: Measure, solon: Sequence[float], peer: Sequence[float], draws: int = DRAWS) -> Ratio:
    """The ratio of medians; raises ValueError for repeats that are not in pairs."""
    pairs = list(zip(solon, peer, strict=True))
    if not pairs:
        raise ValueError("there are no repeats")
    chance = random.Random(0)
    drawn = sorted(_of_medians(measure, chance.choices(pairs, k=len(pairs))) for _ in range(draws))
    tail = draws // 40
    return Ratio(_of_medians(measure, pairs), drawn[tail], drawn[-1 - tail])


def _of_medians(measure: Measure, pairs: Sequence[tuple[float, float]]) -> float:
    own, other = statistics.median(each for each, _ in pairs), statistics.median(each for _, each in pairs)
    return own / other if measure is Measure.RATE else other / own
