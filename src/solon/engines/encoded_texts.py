"""The tokens of the texts that were read last, so that a question is tokenized once.

A question is counted, asked and counted again, and each time a tokenizer takes milliseconds for it. Tokens are kept in
compact form, the latest texts up to a number of tokens in all. Several threads may use one object; a pickled one
arrives empty.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence

from solon.engines.token_rows import Tokens

_MOST = 1 << 21
"""Tokens that are kept: those of about a thousand long questions, in 8 MiB."""

Encode = Callable[[Sequence[str]], Sequence[Tokens]]


class EncodedTexts:
    """Texts with their tokens."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._size = 0
        self._kept: OrderedDict[str, array[int]] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[EncodedTexts], tuple[int]]:
        return EncodedTexts, (self._most,)

    def of(self, texts: Sequence[str], encode: Encode) -> list[Tokens]:
        """The tokens of texts; `encode` is asked for those that are not kept, all at once."""
        found: dict[str, Tokens] = {}
        with self._lock:
            for text in texts:
                if text in self._kept:
                    self._kept.move_to_end(text)
                    found[text] = tuple(self._kept[text])
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        if missing:
            fresh = dict(zip(missing, encode(missing), strict=True))
            found |= fresh
            with self._lock:
                for text, tokens in fresh.items():
                    self._keep(text, array("i", tokens))
        return [found[text] for text in texts]

    def _keep(self, text: str, tokens: array[int]) -> None:
        self._size += len(tokens) - len(self._kept.get(text, ()))
        self._kept[text] = tokens
        while self._size > self._most:
            self._size -= len(self._kept.popitem(last=False)[1])
