"""The outcome of a row: the same values for success and failure in every table.

A failed call never becomes text, a 50/50 label or the letter "A". Its row stays, with an outcome that says what
happened, and only `ok` rows become training examples (promise P5 of docs/concepts.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum


class Outcome(StrEnum):
    """Why a row is, or is not, fit for training."""

    OK = "ok"
    """The text ended by itself and passed every check."""
    EMPTY = "empty"
    """The model wrote only white space."""
    REFUSED = "refused"
    """The model refused the task: a critic or judge that does not read the text."""
    TRUNCATED = "truncated"
    """The text reached its token limit before it ended."""
    MALFORMED = "malformed"
    """The text breaks a stated rule: another speaker's words, leaked instructions, an unreadable form."""
    PROVIDER_ERROR = "provider_error"
    """The engine did not answer."""
    UNDECIDED = "undecided"
    """A judge gave no usable preference."""


def count_outcomes(outcomes: Iterable[Outcome | str]) -> dict[str, int]:
    """The number of rows by outcome, in the order of `Outcome`, without outcomes that do not occur."""
    counts = Counter(Outcome(outcome) for outcome in outcomes)
    return {outcome.value: counts[outcome] for outcome in Outcome if counts[outcome]}


def most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts that are not 0, the largest first."""
    return dict(
        sorted(((name, count) for name, count in counts.items() if count), key=lambda item: (-item[1], item[0]))
    )


def count_defects(defects: Iterable[tuple[str, ...]]) -> dict[str, int]:
    """How often each defect occurs, the most frequent first."""
    return most_frequent(Counter(name for each in defects for name in each))
