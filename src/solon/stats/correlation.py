"""Correlation of two measures of the same cases, with a bootstrap interval.

Cases of one unit (the replies to one prompt, say) are not independent, so the bootstrap draws whole units with
replacement (Efron 1979; percentile interval). A single unit says nothing about others: its interval is the whole range.
Spearman's coefficient is Pearson's of the ranks, in which equal values
share the mean of their ranks. Both are undefined where one of the measures has a single value: the figure is then None.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

RESAMPLES = 1000
"""Bootstrap samples; the ends of the interval are their 2.5 % and 97.5 % points."""
WHOLE_RANGE = (-1.0, 1.0)
"""The interval of a coefficient where nothing is known."""
Pair = tuple[float, float]
Coefficient = Callable[[Sequence[Pair]], float | None]


@dataclass(frozen=True, slots=True)
class Correlation:
    """A coefficient in [-1, 1] over `n` cases, with its 95 % bootstrap interval over `units`."""

    value: float
    low: float
    high: float
    n: int
    units: int

    def facts(self) -> dict[str, Any]:
        """The numbers as manifests hold them."""
        return asdict(self)


def pearson(pairs: Sequence[Pair]) -> float | None:
    """Pearson's coefficient; None for fewer than two cases, or where one measure has a single value."""
    n = len(pairs)
    if n < 2:
        return None
    centre_x, centre_y = math.fsum(x for x, _ in pairs) / n, math.fsum(y for _, y in pairs) / n
    spread_x = math.fsum((x - centre_x) ** 2 for x, _ in pairs)
    spread_y = math.fsum((y - centre_y) ** 2 for _, y in pairs)
    # A single value leaves a rounding error behind, not exactly 0.
    if spread_x <= 1e-18 * n * centre_x**2 or spread_y <= 1e-18 * n * centre_y**2:
        return None
    together = math.fsum((x - centre_x) * (y - centre_y) for x, y in pairs)
    return max(-1.0, min(1.0, together / math.sqrt(spread_x * spread_y)))


def spearman(pairs: Sequence[Pair]) -> float | None:
    """Spearman's rank coefficient; None as for `pearson`."""
    return pearson(list(zip(ranks([x for x, _ in pairs]), ranks([y for _, y in pairs]), strict=True)))


def ranks(values: Sequence[float]) -> list[float]:
    """The rank of each value from 1; equal values share the mean of their ranks."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    found = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in order[start : end + 1]:
            found[place] = (start + end) / 2 + 1
        start = end + 1
    return found


def correlation(
    units: Sequence[Sequence[Pair]], coefficient: Coefficient, seed: int, resamples: int = RESAMPLES
) -> Correlation | None:
    """A coefficient over the cases of all units, with its interval; None where it is undefined."""
    cases = [pair for unit in units for pair in unit]
    value = coefficient(cases)
    if value is None:
        return None
    if len(units) == 1:
        return Correlation(value, *WHOLE_RANGE, len(cases), 1)
    rng = random.Random(seed)
    found: list[float] = []
    for _ in range(resamples):
        drawn = coefficient([pair for unit in rng.choices(units, k=len(units)) for pair in unit])
        if drawn is not None:
            found.append(drawn)
    # The interval holds the value even where nearly every sample is degenerate.
    low, high = (_quantile(sorted(found), share) for share in (0.025, 0.975)) if found else (value, value)
    return Correlation(value, min(low, value), max(high, value), len(cases), len(units))


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
