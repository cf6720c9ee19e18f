"""Differences between two models that answered the same prompts.

Two shares over the same cases are not independent: most prompts get the same verdict for both models, and only the
others show which model is better. So the difference is computed over pairs. Its 95 % interval is Newcombe's
square-and-add interval for paired shares (Newcombe 1998, method 10), which combines the two Wilson intervals and is
valid even when no pair differs. Its p-value is that of McNemar's exact test, a sign test on the pairs that differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from solon.stats.intervals import wilson


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The second share minus the first, over `n` pairs of verdicts, with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    first_only: int
    """Pairs in which only the first has it."""
    second_only: int
    """Pairs in which only the second has it."""
    p_value: float
    """Of McNemar's exact test, two-sided: the chance of so uneven a split if neither were more likely to have it."""

    def facts(self) -> dict[str, Any]:
        """Every number, for JSON."""
        return asdict(self)


def paired_difference(pairs: Iterable[tuple[bool, bool]]) -> PairedDifference | None:
    """The difference of two shares over the same cases; None when there are no cases."""
    counts = {(one, other): 0 for one in (False, True) for other in (False, True)}
    for first, second in pairs:
        counts[bool(first), bool(second)] += 1
    n = sum(counts.values())
    if n == 0:
        return None
    both, neither = counts[True, True], counts[False, False]
    first_only, second_only = counts[True, False], counts[False, True]
    one, other = wilson(both + first_only, n), wilson(both + second_only, n)
    value = other.value - one.value
    phi = _correlation(both, first_only, second_only, neither)
    below = _root(other.value - other.low, one.high - one.value, phi)
    above = _root(other.high - other.value, one.value - one.low, phi)
    return PairedDifference(
        value, max(-1.0, value - below), min(1.0, value + above), n, first_only, second_only,
        exact_mcnemar(first_only, second_only),
    )  # fmt: skip


def exact_mcnemar(first_only: int, second_only: int) -> float:
    """The two-sided p-value of McNemar's exact test; 1 when no pair differs."""
    if first_only + second_only == 0:
        return 1.0
    # Imported here, because importing scipy would slow down the command line's help.
    from scipy.stats import binomtest

    return float(binomtest(second_only, first_only + second_only, 0.5).pvalue)


def _correlation(both: int, first_only: int, second_only: int, neither: int) -> float:
    """Newcombe's phi: the correlation of the verdicts, with his continuity correction where it is positive."""
    margins = (both + first_only) * (second_only + neither) * (both + second_only) * (first_only + neither)
    if margins == 0:
        return 0.0
    n = both + first_only + second_only + neither
    determinant = both * neither - first_only * second_only
    corrected = max(determinant - n / 2, 0.0) if determinant > 0 else float(determinant)
    return corrected / math.sqrt(margins)


def _root(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))
