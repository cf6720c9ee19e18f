"""Whether measured figures bear a claim out: a stated rule on 95 % intervals.

Each check compares a figure with zero, or with a margin, in the direction that the claim expects. It holds when the
whole interval is on that side, does not hold when the whole interval is on the other side, and is not clear otherwise.
A claim with several checks holds when all of them hold, and does not hold when one of them does not. Checks are not
corrected for their number: one in twenty that is off by chance is to be expected.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from solon.stats.intervals import Mean, Share
from solon.stats.paired import paired_difference


class Expected(StrEnum):
    """What a claim says of a difference."""

    HIGHER = "higher"
    """Above zero."""
    LOWER = "lower"
    """Below zero."""
    ALIKE = "alike"
    """Within the margin of zero."""
    NOT_LOWER = "not-lower"
    """Above minus the margin."""
    NOT_HIGHER = "not-higher"
    """Below the margin."""


class ClaimVerdict(StrEnum):
    """What the figures say of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNCLEAR = "not clear"
    NOT_SHOWN = "not shown"
    """Nothing was measured that could tell."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of two figures, or a figure that is compared with a margin, with its 95 % interval."""

    value: float
    low: float
    high: float


RULES = {
    Expected.HIGHER: ("the interval is above 0", "it is not above 0 anywhere"),
    Expected.LOWER: ("the interval is below 0", "it is not below 0 anywhere"),
    Expected.ALIKE: ("the interval is within the margin of 0", "it is wholly outside"),
    Expected.NOT_LOWER: ("the interval is above minus the margin", "it is wholly below"),
    Expected.NOT_HIGHER: ("the interval is below the margin", "it is wholly above"),
}
"""When a check holds, and when it does not; otherwise it is not clear."""


def verdict_of(expected: Expected, found: Difference, margin: float = 0.0) -> ClaimVerdict:
    """The verdict of one check; `margin` counts for `alike`, `not-lower` and `not-higher`, and is not negative."""
    low, high = found.low, found.high
    holds, fails = {
        Expected.HIGHER: (low > 0, high <= 0),
        Expected.LOWER: (high < 0, low >= 0),
        Expected.ALIKE: (low >= -margin and high <= margin, low > margin or high < -margin),
        Expected.NOT_LOWER: (low >= -margin, high < -margin),
        Expected.NOT_HIGHER: (high <= margin, low > margin),
    }[expected]
    return ClaimVerdict.HOLDS if holds else ClaimVerdict.FAILS if fails else ClaimVerdict.UNCLEAR


def together(verdicts: Iterable[ClaimVerdict]) -> ClaimVerdict:
    """The verdict of a claim from those of its checks; `NOT_SHOWN` without any."""
    found = list(verdicts)
    if not found:
        return ClaimVerdict.NOT_SHOWN
    if ClaimVerdict.FAILS in found:
        return ClaimVerdict.FAILS
    return ClaimVerdict.HOLDS if set(found) == {ClaimVerdict.HOLDS} else ClaimVerdict.UNCLEAR


def difference_of_shares(one: Share, other: Share) -> Difference:
    """One share minus another of other cases: Newcombe's square-and-add interval (Newcombe 1998, method 10)."""
    value = one.value - other.value
    below = math.hypot(one.value - one.low, other.high - other.value)
    above = math.hypot(one.high - one.value, other.value - other.low)
    return Difference(value, max(-1.0, value - below), min(1.0, value + above))


def paired_shares(pairs: Iterable[tuple[bool, bool]]) -> Difference | None:
    """The first share minus the second over the same cases (`solon.stats.paired`); None without any."""
    found = paired_difference((second, first) for first, second in pairs)
    return None if found is None else Difference(found.value, found.low, found.high)


def as_difference(found: Mean | None) -> Difference | None:
    """A mean difference over pairs as the figure of a check; None without pairs, and for one, which has no interval."""
    return None if found is None or not found.has_interval else Difference(found.value, found.low, found.high)


def percentile_interval(value: float, drawn: Sequence[float]) -> Difference:
    """A figure with the middle 95 % of its resampled values."""
    ordered = sorted(drawn)
    last = len(ordered) - 1
    return Difference(value, ordered[round(0.025 * last)], ordered[round(0.975 * last)])
