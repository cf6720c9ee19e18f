"""How varied texts are."""

from __future__ import annotations

from collections.abc import Sequence


def distinct_n(texts: Sequence[Sequence[str]], n: int) -> float | None:
    """Different runs of `n` words over all of them (distinct-n, Li et al. 2016); None where there is no run.

    The share falls as a set of texts grows, so only sets with the same number of texts are compared by it.
    """
    runs = [tuple(words[start : start + n]) for words in texts for start in range(len(words) - n + 1)]
    return len(set(runs)) / len(runs) if runs else None
