"""How varied a set of texts is: the share of its runs of words that occur once counted (distinct-n, Li et al. 2016).

The share falls as a set grows, so two sets are compared at the same number of texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from solon.conversation import Conversation
from solon.sources.near_duplicates import words_of

LENGTHS = (1, 2, 3)


def distinct_runs(prompts: Sequence[Conversation]) -> Mapping[str, float]:
    """For 1 to 3 words: different runs of words over all runs, of the human turns; 0 where there is no run."""
    texts = [words_of(prompt) for prompt in prompts]
    return {str(length): _distinct(texts, length) for length in LENGTHS}


def _distinct(texts: Sequence[Sequence[str]], length: int) -> float:
    runs = [tuple(words[start : start + length]) for words in texts for start in range(len(words) - length + 1)]
    return len(set(runs)) / len(runs) if runs else 0.0
