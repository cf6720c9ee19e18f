"""The variety of texts: repetition within one text, and over the texts of one model.

A policy that collapses repeats itself in a reply, or gives nearly the same reply to every prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from solon.stats.intervals import Z95, Mean

OPENING = 20
"""Words of each text that `variety_of_openings` reads."""
POOL = 2000
"""Words that it reads in all, so that models with longer and shorter texts compare."""
GROUPS = 20
"""Groups of texts that are left out in turn for its interval."""


def distinct_n(texts: Sequence[Sequence[str]], n: int) -> float | None:
    """The share of different n-grams among all n-grams (distinct-n, Li et al. 2016); None where there are none.

    The share falls as a set of texts grows, so compare only sets with the same number of texts.
    """
    runs = [tuple(words[start : start + n]) for words in texts for start in range(len(words) - n + 1)]
    return len(set(runs)) / len(runs) if runs else None


def repeated_share(words: Sequence[str], n: int) -> float | None:
    """The share of a text's n-grams that occur earlier in the same text; None for a text of fewer than n words."""
    runs = [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else None


def variety_of_openings(texts: Sequence[Sequence[str]], n: int) -> Mean | None:
    """Distinct-n over the first `OPENING` words of each text, in order, up to `POOL` words in all.

    Distinct-n falls as a set of texts grows. Every model that writes enough is read for as many words, so the figures
    of two models compare; `n` of the figure is the number of n-grams, which is smaller where a model wrote less. The
    interval is the delete-a-group jackknife over `GROUPS` groups of texts. None where there are no n-grams.
    """
    pool = _pool(texts)
    value = distinct_n(pool, n)
    if value is None:
        return None
    groups = min(GROUPS, len(pool))
    left = [distinct_n([text for i, text in enumerate(pool) if i % groups != out], n) for out in range(groups)]
    known = [each for each in left if each is not None]
    half = 0.0
    if groups > 1 and len(known) == groups:
        centre = math.fsum(known) / groups
        half = Z95 * math.sqrt((groups - 1) / groups * math.fsum((each - centre) ** 2 for each in known))
    count = sum(max(len(text) - n + 1, 0) for text in pool)
    return Mean(value, max(0.0, value - half), min(1.0, value + half), count)


def _pool(texts: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The openings of the texts, until there are `POOL` words."""
    pool: list[Sequence[str]] = []
    left = POOL
    for text in texts:
        if left <= 0:
            break
        pool.append(text[: min(OPENING, left)])
        left -= len(pool[-1])
    return pool
