"""The text that a preference model scores, for programs that send or read texts instead of conversations.

It is the rendered prompt, the reply and the end of the reply's turn, after the tokens that the tokenizer puts first.
Tokenized without further special tokens it gives the tokens of training, so that transformers, an inference server and
Solon agree. The chat template of a saved model writes the same text.
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
        """The last token of a reply's ending, as text."""
        return str(self._texts.tokenizer.decode([self._texts.end]))

    def text(self, conversation: Conversation) -> str:
        """The text to score of a conversation that ends on a reply, with the end of its turn."""
        prompt = reply_prompt(Conversation(conversation.turns[:-1]))
        return self._texts.text(prompt, conversation.turns[-1].content)

    def tokens(self, text: str) -> Tokens:
        """The tokens of a text with exactly one end, whether the text has none, one, or padding after it.

        A policy that reached its token limit wrote no end; the reply is scored at an added one.
        """
        ending = self._texts.ending
        body = text[: self._end_of_words(text)]
        body = body.removesuffix(ending.removesuffix(self._mark))
        opening = self._texts.shown("")
        if not body.startswith(opening):
            body = opening + body
        return self._texts.encode_whole([body + ending])[0]

    def messages(self, conversation: Conversation) -> list[dict[str, str]]:
        """The conversation as messages for the saved model's chat template."""
        return self._texts.messages(conversation.turns)

    def _end_of_words(self, text: str) -> int:
        """Where trailing end tokens and padding begin, with white space among them; a reply's own space stays."""
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
