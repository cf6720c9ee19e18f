"""Which prompts say nearly the same: an exact search by runs of words.

Two prompts are near duplicates when the Jaccard similarity of their sets of three-word runs is at least a threshold;
the words are those of the human turns, without case, punctuation or Unicode variants (a prompt of one or two words is
one run). A similarity of 0.7 is about one word changed in twenty. The search misses nothing and compares few pairs: two
sets that are that similar share a run among the rarest `size - ceil(threshold * size) + 1` runs of each (prefix
filtering: Chaudhuri, Ganti & Kaushik 2006; Bayardo, Ma & Srikant 2007), so only prompts that meet there are compared.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from solon.conversation import Conversation, Role

Key = TypeVar("Key", bound=Hashable)
Label = TypeVar("Label")

RUN = 3
"""Words in a run."""
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")  # noqa: RUF001
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""An odd number, so that multiplying by it loses nothing of a 64-bit hash."""
_ROUNDING = 1e-9


def words_of(conversation: Conversation) -> list[str]:
    """The words of the human turns, normalised."""
    said = " ".join(turn.content for turn in conversation.turns if turn.role is Role.HUMAN)
    return _WORD.findall(unicodedata.normalize("NFKC", said).casefold())


class NearDuplicates(Generic[Key, Label]):
    """Conversations by key, of which those that are kept are compared with those that come after.

    All of them are known from the start, because how rare a run is decides where it is looked for; what is found does
    not depend on it.
    """

    def __init__(self, threshold: float, conversations: Mapping[Key, Conversation]) -> None:
        """`threshold` lies in (0, 1]; 1 finds prompts that differ in case, punctuation and repetition alone."""
        self._threshold = threshold
        hashes = _Hashes()
        runs = [hashes.runs(words_of(conversation)) for conversation in conversations.values()]
        values, places, counts = np.unique(
            np.concatenate([np.empty(0, np.uint64), *runs]), return_inverse=True, return_counts=True
        )
        ranks = np.empty(len(values), np.int32)
        ranks[np.lexsort((values, counts))] = np.arange(len(values), dtype=np.int32)
        self._lonely = int(np.count_nonzero(counts == 1))
        """Ranks below it are of runs that stand in one prompt alone, and are not worth an entry."""
        ends = np.cumsum([len(each) for each in runs])
        sets = np.split(ranks[places], ends[:-1]) if runs else []
        self._runs = {key: np.sort(each) for key, each in zip(conversations, sets, strict=True)}
        self._kept: dict[int, list[Key]] = {}
        self._labels: dict[Key, Label] = {}

    def match(self, key: Key) -> Label | None:
        """The label of a kept conversation that this one nearly repeats, or None."""
        own = self._runs[key]
        seen: set[Key] = set()
        for rank in self._rarest(own):
            for other in self._kept.get(rank, ()):
                if other not in seen:
                    seen.add(other)
                    if self._similar(own, self._runs[other]):
                        return self._labels[other]
        return None

    def keep(self, key: Key, label: Label) -> None:
        """Compare later ones with this conversation."""
        self._labels[key] = label
        for rank in self._rarest(self._runs[key]):
            self._kept.setdefault(rank, []).append(key)

    def _rarest(self, runs: NDArray[np.int32]) -> list[int]:
        size = len(runs)
        prefix = runs[: size - math.ceil(self._threshold * size - _ROUNDING) + 1] if size else runs
        ranks: list[int] = prefix[np.searchsorted(prefix, self._lonely) :].tolist()
        return ranks

    def _similar(self, a: NDArray[np.int32], b: NDArray[np.int32]) -> bool:
        if min(len(a), len(b)) < self._threshold * max(len(a), len(b)) - _ROUNDING:
            return False
        shared = len(np.intersect1d(a, b, assume_unique=True))
        return shared >= self._threshold * (len(a) + len(b) - shared) - _ROUNDING


class _Hashes:
    """64-bit hashes of runs of words, each word hashed once."""

    def __init__(self) -> None:
        self._words: dict[str, int] = {}

    def runs(self, words: Iterable[str]) -> NDArray[np.uint64]:
        """The hashes of all runs of `RUN` words, each once; of the whole when it is shorter."""
        hashed = np.array([self._word(word) for word in words], np.uint64)
        if not len(hashed):
            return hashed
        length = min(RUN, len(hashed))
        value = np.full(len(hashed) - length + 1, length, np.uint64)
        for start in range(length):
            value = value * _FACTOR + hashed[start : len(hashed) - length + 1 + start]
        return np.unique(value)

    def _word(self, word: str) -> int:
        if word not in self._words:
            self._words[word] = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
        return self._words[word]
