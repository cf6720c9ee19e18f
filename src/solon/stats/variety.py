"""The variety of texts."""

from __future__ import annotations

from collections.abc import Sequence


def distinct_n(texts: Sequence[Sequence[str]], n: int) -> float | None:
    """The share of different n-grams among all n-grams (distinct-n, Li et al. 2016); None where there are none.

    The share falls as a set of texts grows, so compare only sets with the same number of texts.
    """
    runs = [tuple(words[start : start + n]) for words in texts for start in range(len(words) - n + 1)]
    return len(set(runs)) / len(runs) if runs else None
