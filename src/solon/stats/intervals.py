"""Measured shares and means with their 95 % intervals.

Every figure that Solon prints carries the number of cases behind it and the interval that they allow. Shares use
Wilson's score interval (Wilson 1927): it stays inside [0, 1] and is honest at 0 and 1, where the textbook interval
collapses to a point. Means use the normal approximation, or Student's t where cases may be few. A figure over no cases
does not exist: it is None, never 0. Terminal, report and card write them alike: `93.8 % [72-99]`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Z95 = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""


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
    """A mean over `n` cases, with its 95 % interval (both ends equal the mean when `n` is 1)."""

    value: float
    low: float
    high: float
    n: int

    def facts(self) -> dict[str, Any]:
        """The four numbers as manifests and `solon results --json` hold them."""
        return asdict(self)


def wilson(count: float, n: int, z: float = Z95) -> Share:
    """The share `count / n` with Wilson's score interval; raises ValueError unless 0 <= count <= n and n > 0.

    `count` may be no whole number: a question that is answered with two options equally sure counts as half right.
    """
    if n <= 0 or not 0 <= count <= n:
        raise ValueError(f"no share of {count} in {n}")
    value = count / n
    centre = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    # At 0 and n the interval touches the edge exactly; rounding must not leave it a hair inside or outside.
    low = 0.0 if count == 0 else max(0.0, centre - half)
    high = 1.0 if count == n else min(1.0, centre + half)
    return Share(value, low, high, n)


def share(flags: Iterable[bool]) -> Share | None:
    """The share of true flags, or None when there are no flags."""
    values = [bool(flag) for flag in flags]
    return wilson(sum(values), len(values)) if values else None


def mean(values: Sequence[float], z: float = Z95) -> Mean | None:
    """The mean with the interval of the normal approximation, or None when there are no values."""
    n = len(values)
    if n == 0:
        return None
    centre = math.fsum(values) / n
    if n == 1:
        return Mean(centre, centre, centre, 1)
    variance = math.fsum((value - centre) ** 2 for value in values) / (n - 1)
    half = z * math.sqrt(variance / n)
    return Mean(centre, centre - half, centre + half, n)


def mean_of_few(values: Sequence[float]) -> Mean:
    """The mean of measured cases, such as training runs, with Student's t interval, which is right for any number.

    Raises ValueError for no values.
    """
    found = mean(values, _student(len(values) - 1) if len(values) > 1 else Z95)
    if found is None:
        raise ValueError("no mean of no values")
    return found


def per_cent(value: float) -> str:
    """A share in per cent with one decimal, without the sign, for tables that name the unit: `93.8`."""
    return f"{value * 100:.1f}"


def percent(value: float) -> str:
    """A share in per cent with one decimal: `93.8 %`."""
    return f"{per_cent(value)} %"


def interval(share: Mapping[str, Any]) -> str:
    """The ends of a share's interval in whole per cent: `72-99`."""
    return f"{share['low'] * 100:.0f}-{share['high'] * 100:.0f}"


def _student(freedom: int) -> float:
    """The 97.5 % point of Student's t distribution."""
    # Imported here: no other figure of this module needs it, and the command line's help is not to wait for it.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))
