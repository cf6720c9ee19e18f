"""From prompts to tokens and back: the only module that calls a tokenizer on prompts.

A text is always tokenized as a whole, as any other program would tokenize the output of the chat template: without
tokens that the tokenizer adds by itself, since the text contains them. Training and scoring therefore use, token for
token, what the model reads and writes. Prompt and reply are tokenized together. The reply begins where their tokens
differ from those of the prompt by itself, because some tokenizers add a space at the front or merge tokens across the
border. The part that a prompt shares with others is found in the same way. A transcript begins with the tokens that the
tokenizer puts before a text. A special token spelled out in a message is broken by a space.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from solon.config.recipe import EngineSettings
from solon.conversation import Conversation, Prompt, Rendering, Turn
from solon.engines.base import Continuation
from solon.engines.encoded_texts import EncodedTexts
from solon.engines.rendering import ChatRendering, mark_pattern, rendering_for, special_texts, spelled_out
from solon.engines.templates import TRANSCRIPT_TEMPLATE, transcript_template
from solon.engines.thinking import THINK, Tags
from solon.engines.token_rows import DecodingRow, Tokens, common_length
from solon.errors import ModelError

_LEAST_SHARED = 16
"""A shorter prefix costs more to handle separately than to read again."""


class PromptTokenizer:
    """A tokenizer with a rendering."""

    def __init__(self, tokenizer: Any, rendering: Rendering) -> None:
        self.tokenizer = tokenizer
        self.rendering = rendering
        self._opening = "" if isinstance(rendering, ChatRendering) else opening_of(tokenizer)
        self._special = mark_pattern(special_texts(tokenizer), spellable=True)
        self._encoded = EncodedTexts()

    @classmethod
    def of(cls, tokenizer: Any, settings: EngineSettings) -> PromptTokenizer:
        """A tokenizer with the rendering of a recipe; raises as `rendering_for` does."""
        return cls(tokenizer, rendering_for(tokenizer, settings))

    @property
    def ending(self) -> str:
        """The text that closes a reply: the end of its turn in the chat template, the end token in a transcript."""
        if isinstance(self.rendering, ChatRendering):
            return self.rendering.ending
        return str(self.tokenizer.eos_token)

    @property
    def end(self) -> int:
        """The last token of `ending`, at which a reply ends and is scored; ModelError when it is not a single token."""
        ids = self._ids(self.ending)
        last = self.decode(ids[-1:])
        if not last or not self.ending.endswith(last):
            raise ModelError(
                f"the end of a reply, {self.ending!r}, is not a token of the vocabulary",
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
        """The tags around a model's thoughts."""
        return self.rendering.tags if isinstance(self.rendering, ChatRendering) else (THINK,)

    def opened_by(self, prompt: Prompt) -> Tags | None:
        """The block of thoughts in which the completion of a prompt begins, if any."""
        return self.rendering.opened_by(prompt) if isinstance(self.rendering, ChatRendering) else None

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of rendered texts: prompts, or prompts with more text after them."""
        return self._encoded.of(texts, self._encode)

    def continued(self, texts: Sequence[str], options: Sequence[str]) -> list[list[Tokens]]:
        """For each rendered text the token ids of the text with each option after it."""
        encoded = iter(self._encode([text + option for text in texts for option in options]))
        return [[next(encoded) for _ in options] for _ in texts]

    def _encode(self, texts: Sequence[str]) -> list[Tokens]:
        return self.encode_whole([self.shown(text) for text in texts])

    def shown(self, text: str) -> str:
        """The text to tokenize for a rendered one: a transcript gets its opening, other texts are complete."""
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
        """A prompt with its reply up to the end of the reply's turn: the text that is trained on and scored."""
        written = "".join(self.rendering.render(prompt)) + self.rendering.completion(reply, prompt.reply_as)
        return self.shown(written) + self.ending

    def messages(self, turns: Sequence[Turn]) -> list[dict[str, str]]:
        """Turns as messages for the saved chat template."""
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
        return [(tokens, common_length(prompt, tokens)) for tokens, prompt in zip(whole, bare, strict=True)]

    def saved_template(self) -> str:
        """The chat template of a saved model: it writes `text`, and prompts as the model reads them."""
        if isinstance(self.rendering, ChatRendering):
            return self.rendering.saved_template()
        own = getattr(self.tokenizer, "chat_template", None)
        return own if isinstance(own, str) and own.endswith(TRANSCRIPT_TEMPLATE) else transcript_template(self._opening)

    def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of the rendered prompt."""
        return len(self.encode(["".join(self.rendering.render(prompt))])[0])

    def continuation(self, prompt: Prompt, options: Sequence[str]) -> Continuation:
        """How options continue the prompt's opening; see `Engine.continuation`."""
        text = "".join(self.rendering.render(prompt))
        (bare,), (continued,) = self.encode([text]), self.continued([text], options)
        start = min(common_length(bare, tokens) for tokens in continued)
        return Continuation(start == len(bare), tuple(tokens[start:] for tokens in continued))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of sampled tokens; special tokens are shown, since a reply that holds one must not look clean."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def token_texts(self, vocabulary: int) -> list[str]:
        """Every token of the vocabulary, decoded by itself."""
        return [self.decode([token]) for token in range(min(vocabulary, len(self.tokenizer)))]

    def rows(self, prompts: Sequence[Prompt]) -> list[DecodingRow]:
        """Tokenized prompts, cut where they share a prefix."""
        rendered = [self.rendering.render(prompt) for prompt in prompts]
        whole = self.encode([shared + own for shared, own in rendered])
        cuts = self.shared_lengths([shared for shared, _ in rendered], whole)
        return [DecodingRow(tokens[:cut], tokens[cut:]) for tokens, cut in zip(whole, cuts, strict=True)]

    def shared_lengths(self, shared: Sequence[str], whole: Sequence[Tokens]) -> list[int]:
        """How many leading tokens each of `whole` has in common with all that start with the same shared text."""
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
    """The text of the special tokens that a tokenizer puts before any text; empty if there are none."""
    opened = list(tokenizer("a", verbose=False)["input_ids"])
    bare = list(tokenizer("a", add_special_tokens=False, verbose=False)["input_ids"])
    for start in range(len(opened)):
        if opened[start : start + len(bare)] == bare:
            return str(tokenizer.decode(opened[:start]))
    return str(tokenizer.bos_token) if opened and opened[0] == tokenizer.bos_token_id else ""
