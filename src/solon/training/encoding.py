"""Conversations as token ids, in the one form that generation, finetuning and scoring share.

Prompt and reply are one text with the end of the reply's turn, and are tokenized together; the reply begins where their
tokens differ from those of the prompt by itself. The preference model reads its score at the last token, the end of the
turn (Askell et al. 2021, section A.2: the end-of-context token), whether or not the policy wrote one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from solon.conversation import Conversation, Prompt, Rendering, Role, Turn
from solon.errors import InputError
from solon.prompts import reply as reply_prompt
from solon.training.batches import CompletionExample

Tokens = tuple[int, ...]


class TextTokenizer(Protocol):
    """A tokenizer with its rendering, such as `solon.engines.tokens.PromptTokenizer`."""

    tokenizer: Any
    rendering: Rendering

    @property
    def end(self) -> int:
        """The token that ends a reply."""
        ...

    @property
    def ends(self) -> frozenset[int]:
        """Every token at which a reply may end."""
        ...

    def messages(self, turns: Sequence[Turn]) -> list[dict[str, str]]:
        """Turns as messages for the saved chat template."""
        ...

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of rendered prompts."""
        ...

    def replied(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[tuple[Tokens, int]]:
        """Per prompt the tokens up to the end of the reply's turn, and how many of them are the prompt's."""
        ...

    def saved_template(self) -> str:
        """The chat template for a model trained in this form."""
        ...


@dataclass(frozen=True)
class Encoding:
    """Makes examples; `window` is the most tokens that the model reads."""

    tokenizer: TextTokenizer
    window: int

    @cached_property
    def end(self) -> int:
        """The last token of every example, where a score is read."""
        return self.tokenizer.end

    @cached_property
    def frame(self) -> int:
        """How many tokens an example has besides its prompt and the words of its reply."""
        prompt = reply_prompt(Conversation((Turn(Role.HUMAN, "a"),)))
        ((tokens, own),) = self.tokenizer.replied([prompt], [""])
        return len(tokens) - own

    def prompts(self, conversations: Sequence[Conversation]) -> list[Tokens]:
        """Prompts that end where the assistant's reply begins."""
        rendering = self.tokenizer.rendering
        return self.tokenizer.encode(["".join(rendering.render(reply_prompt(each))) for each in conversations])

    def examples(self, rows: Sequence[tuple[str, Conversation, str]]) -> list[CompletionExample]:
        """(row id, prompt, reply) as examples with loss on the reply, in order; see `fits` for over-long ones."""
        replied = self.tokenizer.replied(
            [reply_prompt(conversation) for _, conversation, _ in rows], [reply for _, _, reply in rows]
        )
        return [
            CompletionExample(row_id, tokens, start)
            for (row_id, _, _), (tokens, start) in zip(rows, replied, strict=True)
        ]

    def whole(self, conversations: Sequence[Conversation]) -> list[Tokens]:
        """Conversations that end on a reply, the end of its turn included; InputError for one that does not."""
        for conversation in conversations:
            if not conversation.turns or conversation.turns[-1].role is not Role.ASSISTANT:
                raise InputError(
                    "the conversation does not end on a reply",
                    place=f"conversation {conversation.row_id}",
                )
        rows = [("", Conversation(each.turns[:-1]), each.turns[-1].content) for each in conversations]
        return [example.token_ids for example in self.examples(rows)]

    def fits(self, tokens: Sequence[int]) -> bool:
        """Whether the model can read all of it."""
        return len(tokens) <= self.window
