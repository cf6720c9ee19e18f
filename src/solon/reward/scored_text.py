"""The text that a preference model scores, for programs that send or read texts instead of conversations.

It is the rendered prompt, the reply as it follows it, and the end of the reply's turn, with whatever the tokenizer sets
in front. Tokenized without special tokens of its own it gives the tokens that training saw, so that transformers, an
inference server and Solon agree. A saved model carries a chat template that writes this very text.
"""

from __future__ import annotations

from solon.conversation import Conversation
from solon.engines.tokens import PromptTokenizer
from solon.prompts import reply as reply_prompt
from solon.training.encoding import Tokens


class ScoredText:
    """Writes and reads the text form of conversations."""

    def __init__(self, texts: PromptTokenizer) -> None:
        self._texts = texts
        tokenizer = texts.tokenizer
        self._marks = tuple(
            dict.fromkeys(str(each) for each in (self._mark, tokenizer.eos_token, tokenizer.pad_token) if each)
        )

    @property
    def _mark(self) -> str:
        """The last token of what ends a reply, as text."""
        return str(self._texts.tokenizer.decode([self._texts.end]))

    def text(self, conversation: Conversation) -> str:
        """What is scored of a conversation that ends on a reply, the end of its turn included."""
        prompt = reply_prompt(Conversation(conversation.turns[:-1]))
        return self._texts.text(prompt, conversation.turns[-1].content)

    def tokens(self, text: str) -> Tokens:
        """The tokens of a text, closed by exactly one end, whether the text has none, one, or padding behind it.

        A policy that ran into its token limit wrote no end, and is scored at one all the same.
        """
        ending = self._texts.ending
        body = text[: self._end_of_words(text)]
        body = body.removesuffix(ending.removesuffix(self._mark))
        opening = self._texts.shown("")
        if not body.startswith(opening):
            body = opening + body
        return self._texts.encode_whole([body + ending])[0]

    def messages(self, conversation: Conversation) -> list[dict[str, str]]:
        """The conversation as the saved model's chat template is to be given it."""
        return self._texts.messages(conversation.turns)

    def _end_of_words(self, text: str) -> int:
        """Where end tokens, padding and white space between and behind them begin; a reply's own space stays."""
        kept = position = len(text)
        while position:
            mark = next((each for each in self._marks if text.endswith(each, 0, position)), None)
            if mark is not None:
                kept = position = position - len(mark)
            elif text[position - 1].isspace():
                position -= 1
            else:
                break
        return kept
