"""Measured shares and means with their 95 % intervals.

Every figure that Solon prints has its number of cases and its interval. Shares use Wilson's score interval (Wilson
1927), which stays inside [0, 1] and is valid at 0 and 1, where the textbook interval has width 0. Means use Student's
t, which is right for few cases too. A figure over no cases is None, never 0, and a mean of one case has no interval.
The terminal, the report and the model card write figures in the same form: `93.8 % [71.7-98.9]`, a probability as
`0.938` and a score as `+1.32`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

Z95 = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""
ONE_CASE = "one case"
"""What is written in place of the interval of a mean of one case."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share in [0, 1] of `n` cases, with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    def facts(self) -> dict[str, Any]:
        """The four numbers as manifests and `solon results --json` hold them."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over `n` cases, with its 95 % interval; one case has none, and then both ends equal the mean."""

    value: float
    low: float
    high: float
    n: int

    @property
    def has_interval(self) -> bool:
        """Whether the cases say how far the mean may be off."""
        return self.n > 1

    def facts(self) -> dict[str, Any]:
        """The four numbers as manifests and `solon results --json` hold them."""
        return asdict(self)


def wilson(count: float, n: int, z: float = Z95) -> Share:
    """The share `count / n` with Wilson's score interval; raises ValueError unless 0 <= count <= n and n > 0.

    `count` may be a fraction: an answer with two equally probable options counts as half right.
    """
    if n <= 0 or not 0 <= count <= n:
        raise ValueError(f"not a share: {count} of {n}")
    value = count / n
    centre = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    # At 0 and n the interval ends exactly at 0 and 1, without a rounding error.
    low = 0.0 if count == 0 else max(0.0, centre - half)
    high = 1.0 if count == n else min(1.0, centre + half)
    return Share(value, low, high, n)


def share(flags: Iterable[bool]) -> Share | None:
    """The share of true flags, or None when there are no flags."""
    values = [bool(flag) for flag in flags]
    return wilson(sum(values), len(values)) if values else None


def mean(values: Sequence[float]) -> Mean | None:
    """The mean with Student's t interval, or None when there are no values."""
    n = len(values)
    if n == 0:
        return None
    centre = math.fsum(values) / n
    if n == 1:
        return Mean(centre, centre, centre, 1)
    variance = math.fsum((value - centre) ** 2 for value in values) / (n - 1)
    half = _student(n - 1) * math.sqrt(variance / n)
    return Mean(centre, centre - half, centre + half, n)


def per_cent(value: float) -> str:
    """A share in per cent with one decimal, without the sign, for tables that name the unit: `93.8`."""
    return f"{value * 100:.1f}"


def percent(value: float) -> str:
    """A share in per cent with one decimal: `93.8 %`."""
    return f"{per_cent(value)} %"


def interval(share: Mapping[str, Any]) -> str:
    """The ends of a share's interval in per cent, with the decimals of the share: `71.7-98.9`."""
    if _is_one_case(share):
        return ONE_CASE
    return f"{per_cent(share['low'])}-{per_cent(share['high'])}"


def probability(value: float) -> str:
    """A probability, or an error of one, with three decimals, as fine as a share in per cent: `0.938`."""
    return f"{value:.3f}"


def signed(value: float) -> str:
    """A score or a difference of log-odds, with its sign and two decimals: `+1.32`."""
    return f"{value:+.2f}"


def signed_interval(figure: Mapping[str, Any]) -> str:
    """The ends of such a number's interval: `+1.10 to +1.54`."""
    if _is_one_case(figure):
        return ONE_CASE
    return f"{signed(figure['low'])} to {signed(figure['high'])}"


def _is_one_case(figure: Mapping[str, Any]) -> bool:
    """Whether it is a mean of one case; a share of one case has an interval."""
    return figure.get("n") == 1 and figure["low"] == figure["high"]


@cache
def _student(freedom: int) -> float:
    """The 97.5 % point of Student's t distribution."""
    # Imported here, because importing scipy would slow down the command line's help.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))
