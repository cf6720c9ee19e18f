"""From prompts to tokens and back: the one place where the local engine meets a tokenizer.

A prompt's text is always tokenized whole. The part that it shares with other prompts is then cut off where both agree
token by token, so a merge across the border costs at most the last shared token and never changes what the model
reads. A rendering that writes its own special tokens (a chat template) gets none added; a transcript gets those that
the tokenizer adds by itself, but never a closing one. A special token that somebody spelled out is read as plain text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from solon.conversation import Prompt, Rendering
from solon.engines.batch import Row, Tokens
from solon.engines.choose import common_length
from solon.engines.rendering import ChatRendering

_LEAST_SHARED = 16
"""A shorter prefix costs more to handle apart than to read again."""


class PromptTokenizer:
    """A tokenizer and a rendering, as one."""

    def __init__(self, tokenizer: Any, rendering: Rendering) -> None:
        self.tokenizer = tokenizer
        self.rendering = rendering
        self._adds_special = not isinstance(rendering, ChatRendering)
        self._end = tokenizer.eos_token_id

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of whole prompt texts."""
        if not texts:
            return []
        encoded = self.tokenizer(
            list(texts),
            add_special_tokens=self._adds_special,
            split_special_tokens=self._adds_special,
            return_attention_mask=False,
            verbose=False,
        )["input_ids"]
        return [tuple(self._open(ids)) for ids in encoded]

    def _open(self, ids: list[int]) -> list[int]:
        # Some tokenizers close every text; a prompt must stay open, unless the closing token is all there is.
        return ids[:-1] if self._adds_special and len(ids) > 1 and ids[-1] == self._end else ids

    def completion(self, reply: str) -> Tokens:
        """Token ids of a reply as it follows a rendered prompt, for training; without special tokens at its start."""
        encoded = self.tokenizer(
            self.rendering.completion(reply), add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        return tuple(encoded["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of sampled tokens; special tokens are shown, since a reply that holds one must not look clean."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def token_texts(self, vocabulary: int) -> list[str]:
        """Every token of the vocabulary decoded alone."""
        return [self.decode([token]) for token in range(min(vocabulary, len(self.tokenizer)))]

    def rows(self, prompts: Sequence[Prompt]) -> list[Row]:
        """Tokenized prompts, cut where they share a prefix."""
        rendered = [self.rendering.render(prompt) for prompt in prompts]
        whole = self.encode([shared + own for shared, own in rendered])
        cuts = self.shared_lengths([shared for shared, _ in rendered], whole)
        return [Row(tokens[:cut], tokens[cut:]) for tokens, cut in zip(whole, cuts, strict=True)]

    def shared_lengths(self, shared: Sequence[str], whole: Sequence[Tokens]) -> list[int]:
        """How many leading tokens of each of `whole` are common to all texts that open with the same shared text."""
        groups: dict[str, list[int]] = defaultdict(list)
        for number, text in enumerate(shared):
            if text:
                groups[text].append(number)
        cuts = [0] * len(whole)
        for tokens, numbers in zip(self.encode(list(groups)), groups.values(), strict=True):
            cut = min(min(common_length(tokens, whole[number]), len(whole[number]) - 1) for number in numbers)
            if cut >= _LEAST_SHARED:
                for number in numbers:
                    cuts[number] = cut
        return cuts
