"""The text that a preference model scores, for programs that send or read texts instead of conversations.

It is the rendered prompt, the reply as it follows it, and the end token, with whatever the tokenizer sets in front.
Tokenized without special tokens of its own it gives the tokens that training saw, so that transformers, an inference
server and Solon agree. A saved model carries a chat template that writes this very text; where a template goes on after
the end token (a line feed, mostly), the score would be read at that, and the template is cut there.
"""

from __future__ import annotations

import json

from transformers import PreTrainedTokenizerBase

from solon.conversation import Conversation, Role, Turn
from solon.engines.rendering import TRANSCRIPT_TEMPLATE, ChatRendering
from solon.training.encoding import Encoding, Tokens
from solon.wording import reply as reply_prompt

_PROBE = Conversation(
    tuple(Turn(role, text) for role, text in zip((Role.HUMAN, Role.ASSISTANT) * 2, ("a", "b", "c", "d"), strict=True))
)
_CUT_AT_END = "{%- set shown -%}TEMPLATE{%- endset -%}{{ shown if add_generation_prompt else shown.rstrip() }}"


class ScoredText:
    """Writes and reads the text form of what `encoding` makes of conversations."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, encoding: Encoding) -> None:
        self._tokenizer = tokenizer
        self._encoding = encoding
        self._closing = tuple(str(each) for each in (tokenizer.eos_token, tokenizer.pad_token) if each)
        opened, bare = encoding.tokenizer.encode(["a"])[0], self._bare("a")
        self._opening = (
            str(tokenizer.decode(list(opened[: len(opened) - len(bare)]))) if len(opened) > len(bare) else ""
        )

    def text(self, conversation: Conversation) -> str:
        """What is scored of a conversation that ends on a reply, end token included."""
        rendering = self._encoding.tokenizer.rendering
        prompt = rendering.render(reply_prompt(Conversation(conversation.turns[:-1])))
        reply = rendering.completion(conversation.turns[-1].content)
        return f"{self._opening}{''.join(prompt)}{reply}{self._tokenizer.eos_token}"

    def tokens(self, text: str) -> Tokens:
        """The tokens of a text, closed by exactly one end token, whether the text has none, one, or padding behind it.

        A policy that ran into its token limit wrote no end token, and is scored at one all the same.
        """
        body = text[: self._end_of_words(text)]
        if not body.startswith(self._opening):
            body = self._opening + body
        return (*self._bare(body), self._encoding.end)

    def template(self) -> str | None:
        """A chat template that writes what `text` gives; the tokenizer's own where none could be found."""
        if not isinstance(self._encoding.tokenizer.rendering, ChatRendering):
            opening = f"{{{{ {json.dumps(self._opening)} }}}}" if self._opening else ""
            return opening + TRANSCRIPT_TEMPLATE
        own = self._tokenizer.chat_template
        if isinstance(own, str):
            for template in (own, _CUT_AT_END.replace("TEMPLATE", own)):
                if self.written_by(template):
                    return template
        return own if isinstance(own, str) else None

    def written_by(self, template: str | None) -> bool:
        """Whether a chat template writes the scored text of a probe dialogue."""
        written = self._tokenizer.apply_chat_template(_PROBE.messages(), chat_template=template, tokenize=False)
        return bool(written == self.text(_PROBE))

    def _bare(self, text: str) -> Tokens:
        encoded = self._tokenizer(text, add_special_tokens=False, return_attention_mask=False, verbose=False)
        return tuple(encoded["input_ids"])

    def _end_of_words(self, text: str) -> int:
        """Where end tokens, padding and white space between and behind them begin; a reply's own space stays."""
        kept = position = len(text)
        while position:
            closing = next((each for each in self._closing if text.endswith(each, 0, position)), None)
            if closing is not None:
                kept = position = position - len(closing)
            elif text[position - 1].isspace():
                position -= 1
            else:
                break
        return kept
