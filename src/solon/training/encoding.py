"""Conversations as token ids, in the one form that generation, finetuning and scoring share.

A prompt is tokenized as the engine tokenizes it, a reply apart from it (as a model that generates meets it), and the
end token closes the sequence. The preference model reads its score at that end token (Askell et al. 2021, section A.2:
the end-of-context token), whether or not the policy wrote one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from solon.conversation import Conversation, Rendering, Role
from solon.errors import InputError
from solon.training.batches import Example
from solon.wording import reply as reply_prompt

Tokens = tuple[int, ...]


class TextTokenizer(Protocol):
    """What is asked of a tokenizer with its rendering; the local engine has one."""

    rendering: Rendering

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of whole prompt texts."""
        ...

    def completion(self, reply: str) -> Tokens:
        """Token ids of a reply as it follows a rendered prompt."""
        ...


@dataclass(frozen=True, slots=True)
class Encoding:
    """Makes examples; `end` is the end token, `window` the most tokens that the model reads."""

    tokenizer: TextTokenizer
    end: int
    window: int

    def prompts(self, conversations: Sequence[Conversation]) -> list[Tokens]:
        """Prompts that end where the assistant's reply begins."""
        rendering = self.tokenizer.rendering
        return self.tokenizer.encode(["".join(rendering.render(reply_prompt(each))) for each in conversations])

    def reply(self, text: str) -> Tokens:
        """A reply with its end token."""
        return (*self.tokenizer.completion(text), self.end)

    def examples(self, rows: Sequence[tuple[str, Conversation, str]]) -> list[Example]:
        """(row id, prompt, reply) as examples whose replies carry loss, in order; see `fits` for over-long ones."""
        prompts = self.prompts([conversation for _, conversation, _ in rows])
        return [
            Example(row_id, prompt + self.reply(text), len(prompt))
            for (row_id, _, text), prompt in zip(rows, prompts, strict=True)
        ]

    def whole(self, conversations: Sequence[Conversation]) -> list[Tokens]:
        """Conversations that end on a reply, end token included; raises InputError for one that does not."""
        for conversation in conversations:
            if not conversation.turns or conversation.turns[-1].role is not Role.ASSISTANT:
                raise InputError(
                    "a conversation is scored by its last reply, and this one ends on another turn",
                    place=f"conversation {conversation.row_id}",
                )
        rows = [("", Conversation(each.turns[:-1]), each.turns[-1].content) for each in conversations]
        return [example.token_ids for example in self.examples(rows)]

    def fits(self, tokens: Sequence[int]) -> bool:
        """Whether the model can read all of it."""
        return len(tokens) <= self.window
