"""From prompts to tokens and back: the one place where a tokenizer is met.

A text is always tokenized whole and in one way only, as any other program would tokenize what the chat template writes:
without tokens that the tokenizer adds by itself, since the text holds them. So what is trained on and scored is, token
for token, what the model reads and writes: prompt and reply are tokenized together, and where the reply begins is found
by comparing with the prompt alone, because some tokenizers set a space in front of whatever they are given or merge
across the border. The part that a prompt shares with others is cut off in the same way. A transcript opens with what
the tokenizer itself sets in front of a text. A special token that somebody spelled out is broken by a space.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from solon.config.recipe import EngineSettings
from solon.conversation import Conversation, Prompt, Rendering, Turn
from solon.engines.rendering import ChatRendering, mark_pattern, rendering_for, special_texts, spelled_out
from solon.engines.templates import TRANSCRIPT_TEMPLATE, transcript_template
from solon.engines.thinking import THINK, Tags
from solon.engines.token_rows import DecodingRow, Tokens, common_length
from solon.errors import ModelError

_LEAST_SHARED = 16
"""A shorter prefix costs more to handle apart than to read again."""


class PromptTokenizer:
    """A tokenizer and a rendering, as one."""

    def __init__(self, tokenizer: Any, rendering: Rendering) -> None:
        self.tokenizer = tokenizer
        self.rendering = rendering
        self._opening = "" if isinstance(rendering, ChatRendering) else opening_of(tokenizer)
        self._special = mark_pattern(special_texts(tokenizer), spellable=True)

    @classmethod
    def of(cls, tokenizer: Any, settings: EngineSettings) -> PromptTokenizer:
        """A tokenizer with the rendering that a recipe asks for; raises what `rendering_for` raises."""
        return cls(tokenizer, rendering_for(tokenizer, settings))

    @property
    def ending(self) -> str:
        """The text that closes a reply: the end of its turn in the chat template, the end token in a transcript."""
        if isinstance(self.rendering, ChatRendering):
            return self.rendering.ending
        return str(self.tokenizer.eos_token)

    @property
    def end(self) -> int:
        """The last token of `ending`, at which a reply ends and is scored; ModelError where it is no one token."""
        ids = self._ids(self.ending)
        last = self.decode(ids[-1:])
        if not last or not self.ending.endswith(last):
            raise ModelError(
                f"the end of a reply, {self.ending!r}, is no token of the vocabulary",
                remedy="Name an eos_token that the vocabulary holds in tokenizer_config.json",
            )
        return ids[-1]

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end a reply: the tokenizer's end token, `end`, and stops of the rendering that are one token."""
        known = {str(token): number for number, token in self.tokenizer.added_tokens_decoder.items()}
        stops = {known[stop] for stop in self.rendering.stops() if stop in known}
        own = self.tokenizer.eos_token_id
        return frozenset(stops | ({own} if own is not None else set()))

    @property
    def tags(self) -> tuple[Tags, ...]:
        """Between which a model's thoughts stand."""
        return self.rendering.tags if isinstance(self.rendering, ChatRendering) else (THINK,)

    def opened_by(self, prompt: Prompt) -> Tags | None:
        """The block of thoughts in which the completion of a prompt begins, if any."""
        return self.rendering.opened_by(prompt) if isinstance(self.rendering, ChatRendering) else None

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of rendered texts: prompts, or prompts with something behind."""
        return self.encode_whole([self.shown(text) for text in texts])

    def shown(self, text: str) -> str:
        """The text that is tokenized for a rendered one: a chat template writes it whole, a transcript is opened."""
        if isinstance(self.rendering, ChatRendering):
            return text
        return self._opening + spelled_out(self._special, text)

    def encode_whole(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of texts that are complete, special tokens included, as any other program would read them."""
        if not texts:
            return []
        encoded = self.tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)[
            "input_ids"
        ]
        return [tuple(ids) for ids in encoded]

    def text(self, prompt: Prompt, reply: str) -> str:
        """A prompt with its reply up to the end of the reply's turn: what is trained on and scored."""
        written = "".join(self.rendering.render(prompt)) + self.rendering.completion(reply, prompt.reply_as)
        return self.shown(written) + self.ending

    def messages(self, turns: Sequence[Turn]) -> list[dict[str, str]]:
        """Turns as the saved chat template is to be given them."""
        if isinstance(self.rendering, ChatRendering):
            return self.rendering.messages(turns)
        return [
            {**message, "content": spelled_out(self._special, message["content"])}
            for message in Conversation(tuple(turns)).messages()
        ]

    def replied(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[tuple[Tokens, int]]:
        """For each prompt the tokens of `text`, and how many of them are the prompt's own."""
        whole = self.encode_whole([self.text(*each) for each in zip(prompts, replies, strict=True)])
        bare = self.encode(["".join(self.rendering.render(prompt)) for prompt in prompts])
        return [(tokens, common_length(alone, tokens)) for tokens, alone in zip(whole, bare, strict=True)]

    def saved_template(self) -> str:
        """The chat template that a saved model carries: it writes `text`, and prompts as they are read."""
        if isinstance(self.rendering, ChatRendering):
            return self.rendering.saved_template()
        own = getattr(self.tokenizer, "chat_template", None)
        return own if isinstance(own, str) and own.endswith(TRANSCRIPT_TEMPLATE) else transcript_template(self._opening)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of sampled tokens; special tokens are shown, since a reply that holds one must not look clean."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def token_texts(self, vocabulary: int) -> list[str]:
        """Every token of the vocabulary decoded alone."""
        return [self.decode([token]) for token in range(min(vocabulary, len(self.tokenizer)))]

    def rows(self, prompts: Sequence[Prompt]) -> list[DecodingRow]:
        """Tokenized prompts, cut where they share a prefix."""
        rendered = [self.rendering.render(prompt) for prompt in prompts]
        whole = self.encode([shared + own for shared, own in rendered])
        cuts = self.shared_lengths([shared for shared, _ in rendered], whole)
        return [DecodingRow(tokens[:cut], tokens[cut:]) for tokens, cut in zip(whole, cuts, strict=True)]

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

    def _ids(self, text: str) -> Tokens:
        return self.encode_whole([text])[0]


def opening_of(tokenizer: Any) -> str:
    """The text of the special tokens that a tokenizer sets in front of any text; none for one that only closes it."""
    opened = list(tokenizer("a", verbose=False)["input_ids"])
    bare = list(tokenizer("a", add_special_tokens=False, verbose=False)["input_ids"])
    for start in range(len(opened)):
        if opened[start : start + len(bare)] == bare:
            return str(tokenizer.decode(opened[:start]))
    return str(tokenizer.bos_token) if opened and opened[0] == tokenizer.bos_token_id else ""
