"""Finds near duplicates among prompts, by an exact search over runs of words.

Two prompts are near duplicates when the Jaccard similarity of their sets of three-word runs is at least a threshold;
the words are those of the human turns, without case, punctuation or Unicode variants (a prompt of one or two words is
one run). A similarity of 0.7 is about one changed word in twenty. The search misses nothing and compares few pairs: two
sets of that similarity share a run among the rarest `size - ceil(threshold * size) + 1` runs of each (prefix filtering:
Chaudhuri, Ganti & Kaushik 2006; Bayardo, Ma & Srikant 2007), so only prompts that share such a run are compared.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from solon.conversation import Conversation, Role
from solon.stats.variety import distinct_n

Key = TypeVar("Key", bound=Hashable)
Label = TypeVar("Label")

RUN = 3
"""Words in a run."""
RUN_LENGTHS = (1, 2, 3)
"""The lengths of runs for `distinct_runs`."""
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")  # noqa: RUF001
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""An odd factor, so that a product keeps all 64 bits of a hash."""
_ROUNDING = 1e-9


def words_of(conversation: Conversation) -> list[str]:
    """The words of the human turns, normalised."""
    said = " ".join(turn.content for turn in conversation.turns if turn.role is Role.HUMAN)
    return _WORD.findall(unicodedata.normalize("NFKC", said).casefold())


class NearDuplicates(Generic[Key, Label]):
    """Compares each conversation with those that were kept before it; conversations have keys.

    All conversations must be known from the start, because the index uses how rare each run is among them. The result
    does not depend on that.
    """

    def __init__(self, threshold: float, conversations: Mapping[Key, Conversation]) -> None:
        """`threshold` is in (0, 1]; 1 finds prompts that differ only in case, punctuation and repetition."""
        self._threshold = threshold
        self._number = {key: number for number, key in enumerate(conversations)}
        sets = _run_sets(conversations.values())
        self._flat, self._starts, self._unshared = sets.ranks, sets.starts, sets.unshared
        self._sizes = np.diff(self._starts)
        self._marked = np.zeros(int(self._flat.max(initial=0)) + 1, np.bool_)
        self._kept: dict[int, list[int]] = {}
        self._labels: dict[int, Label] = {}
        self._kept_at: dict[int, int] = {}

    def match(self, key: Key) -> Label | None:
        """The label of the first kept conversation that this one is a near duplicate of, or None."""
        number = self._number[key]
        lists = [kept for rank in self._rarest(number) if (kept := self._kept.get(rank))]
        if not lists:
            return None
        similar = self._similar(number, np.unique(np.concatenate([np.array(each, np.int64) for each in lists])))
        return self._labels[min(similar, key=self._kept_at.__getitem__)] if similar else None

    def keep(self, key: Key, label: Label) -> None:
        """Keep this conversation, so that later ones are compared with it."""
        number = self._number[key]
        self._labels[number], self._kept_at[number] = label, len(self._kept_at)
        for rank in self._rarest(number):
            self._kept.setdefault(rank, []).append(number)

    def _runs(self, number: int) -> NDArray[np.int64]:
        return self._flat[self._starts[number] : self._starts[number + 1]]

    def _rarest(self, number: int) -> list[int]:
        """The rarest runs of a conversation, which it shares with every similar one."""
        size = int(self._sizes[number])
        prefix = self._runs(number)[: size - math.ceil(self._threshold * size - _ROUNDING) + 1]
        ranks: list[int] = prefix[np.searchsorted(prefix, self._unshared) :].tolist()
        return ranks

    def _similar(self, number: int, others: NDArray[np.int64]) -> list[int]:
        """Those of `others` that are similar enough; the shared runs are counted in one pass over all of their runs."""
        size, sizes = self._sizes[number], self._sizes[others]
        near = np.minimum(size, sizes) >= self._threshold * np.maximum(size, sizes) - _ROUNDING
        others, sizes = others[near], sizes[near]
        if not len(others):
            return []
        ends = np.cumsum(sizes)
        places = np.arange(ends[-1]) + np.repeat(self._starts[others] - (ends - sizes), sizes)
        own = self._runs(number)
        self._marked[own] = True
        shared = np.add.reduceat(self._marked[self._flat[places]], ends - sizes, dtype=np.int64)
        self._marked[own] = False
        found: list[int] = others[shared >= self._threshold * (size + sizes - shared) - _ROUNDING].tolist()
        return found


@dataclass(frozen=True, slots=True)
class _RunSets:
    """The runs of all conversations, concatenated; each run is its rank, and rarer runs have lower ranks."""

    ranks: NDArray[np.int64]
    """Ascending within each conversation."""
    starts: NDArray[np.int64]
    """Where each conversation's runs start, and the end of the last."""
    unshared: int
    """Runs with a rank below this are in a single conversation, and are not indexed."""


def _run_sets(conversations: Iterable[Conversation]) -> _RunSets:
    words: list[int] = []
    lengths: list[int] = []
    known: dict[str, int] = {}
    for conversation in conversations:
        said = words_of(conversation)
        words += [known.setdefault(word, len(known)) for word in said]
        lengths.append(len(said))
    hashed = np.array([_hash(word) for word in known], np.uint64)[np.array(words, np.int64)]
    owners, values = _hashed_runs(hashed, np.array(lengths, np.int64))
    distinct, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    order = np.empty(len(distinct), np.int64)
    order[np.lexsort((distinct, counts))] = np.arange(len(distinct))
    ranks = order[places]
    sorted_places = np.lexsort((ranks, owners))
    starts = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(lengths)))])
    return _RunSets(ranks[sorted_places], starts.astype(np.int64), int(np.count_nonzero(counts == 1)))


def _hashed_runs(words: NDArray[np.uint64], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """(conversation, hash) of every run, once per conversation; `words` of all conversations follow one another."""
    ends = np.cumsum(lengths)
    whole = np.minimum(lengths, RUN)
    counts = np.where(lengths > 0, lengths - whole + 1, 0)
    owners = np.repeat(np.arange(len(lengths)), counts)
    firsts = np.arange(counts.sum()) + np.repeat((ends - lengths) - (np.cumsum(counts) - counts), counts)
    size = whole[owners]
    values = size.astype(np.uint64)
    for place in range(RUN):
        within = place < size
        following = words[np.where(within, firsts + place, 0)]
        values = np.where(within, values * _FACTOR + following, values)
    sorted_places = np.lexsort((values, owners))
    owners, values = owners[sorted_places], values[sorted_places]
    fresh = np.ones(len(values), np.bool_)
    fresh[1:] = (owners[1:] != owners[:-1]) | (values[1:] != values[:-1])
    return owners[fresh], values[fresh]


def _hash(word: str) -> int:
    """A hash of 64 bits, the same in every process."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def distinct_runs(prompts: Sequence[Conversation]) -> Mapping[str, float]:
    """Distinct-n of the human turns for n from 1 to 3; 0 where there is no run of words."""
    texts = [words_of(prompt) for prompt in prompts]
    return {str(length): distinct_n(texts, length) or 0.0 for length in RUN_LENGTHS}
