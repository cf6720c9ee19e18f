"""How far two raters agree about yes and no, beyond what chance gives (Cohen 1960)."""

from __future__ import annotations

from collections.abc import Sequence


def cohen_kappa(pairs: Sequence[tuple[bool, bool]]) -> float | None:
    """Cohen's kappa: 1 for full agreement, 0 for what chance gives with these shares of yes.

    None for no pairs, and where both raters always say the same one thing: chance alone then gives full agreement.
    """
    n = len(pairs)
    if n == 0:
        return None
    agree = sum(one == other for one, other in pairs) / n
    first, second = sum(one for one, _ in pairs) / n, sum(other for _, other in pairs) / n
    chance = first * second + (1 - first) * (1 - second)
    return (agree - chance) / (1 - chance) if chance < 1 else None
