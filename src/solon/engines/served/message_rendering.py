"""Prompts as messages, for servers that write chats by a template of their own.

Everything the model writes is an assistant message, everything else a user message, merged as in `ChatRendering`. The
words that open a reply (a label, a bracket) begin an assistant message where the server can continue one; elsewhere
they end the last user message. Marks that many templates use are broken by a space, since the server's tokenizer is
unknown here and would read them as the end of a turn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from solon.conversation import LABELS, MODEL_ROLES, Prompt, Role, Turn
from solon.engines.rendering import SPOKEN, Message, label_and_opening, side_of, spelled_out

_MARKS = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|\[/?INST\]|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>|\[(?:BOS|EOS|PAD)\]"
    r"|<\uff5c[^\uff5c<>]{1,40}\uff5c>"
)
"""Texts that end or open turns in the templates of Llama, Qwen, Mistral, Gemma, Phi, DeepSeek and others."""


class ReplyStart(StrEnum):
    """Where the words that open a reply stand."""

    CONTINUED = "continued"
    """They begin the assistant's message, and the server continues it."""
    ASKED_FOR = "asked-for"
    """They end the user's message."""


class MessageRendering:
    """See `solon.conversation.Rendering`; `render` gives the messages as JSON, which is what is hashed and counted."""

    name = "messages"

    def __init__(self, start: ReplyStart = ReplyStart.ASKED_FOR) -> None:
        self.start = start

    def render(self, prompt: Prompt) -> tuple[str, str]:
        return "", json.dumps(self.body(prompt), ensure_ascii=False)

    def completion(self, reply: str, reply_as: Role = Role.ASSISTANT) -> str:
        return f" {reply}" if reply_as in SPOKEN else reply

    def stops(self) -> tuple[str, ...]:
        """The server's template ends turns."""
        return ()

    def body(self, prompt: Prompt) -> dict[str, Any]:
        """The fields of a chat request that hold the prompt."""
        turns, begun = list(prompt.turns), [label_and_opening(prompt)]
        while turns and turns[-1].role in MODEL_ROLES and prompt.reply_as in MODEL_ROLES:
            begun.insert(0, _said(turns.pop()))
        messages, words = _messages(turns), "\n\n".join(filter(None, begun))
        if not words:
            return {"messages": messages}
        if self.start is ReplyStart.CONTINUED:
            continued = {"continue_final_message": True, "add_generation_prompt": False}
            return {"messages": [*messages, {"role": "assistant", "content": words}], **continued}
        if messages and messages[-1]["role"] == "user":
            messages[-1]["content"] += f"\n\n{words}"
        else:
            messages.append({"role": "user", "content": words})
        return {"messages": messages}


def _messages(turns: Sequence[Turn]) -> list[Message]:
    messages: list[Message] = []
    for turn in turns:
        side, content = side_of(turn.role), _said(turn)
        if messages and messages[-1]["role"] == side:
            messages[-1]["content"] += f"\n\n{content}"
        else:
            messages.append({"role": side, "content": content})
    return messages


def _said(turn: Turn) -> str:
    content = spelled_out(_MARKS, turn.content)
    return f"{LABELS[turn.role]}: {content}" if turn.role in SPOKEN else content
