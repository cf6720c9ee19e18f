"""Prompts through a tokenizer's chat template.

Whatever the model itself writes (replies, critiques, revisions, answers) becomes an assistant turn, all else a user
turn, and neighbours of the same side are merged with a blank line, because templates insist on alternation. How a reply
opens and ends is read off the template by rendering a probe, never assumed from a model's name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from solon.conversation import MODEL_ROLES, Prompt, Rendering, Role, TranscriptRendering, Turn
from solon.errors import ModelError
from solon.recipe import RenderingKind

_PROBE = "solonprobe"
_NEXT = "solonnext"
_CACHED = 64
TRANSCRIPT_TEMPLATE = (
    "{%- set labels = {'user': 'Human', 'assistant': 'Assistant', 'system': 'System'} -%}"
    "{%- for message in messages -%}"
    "{{ '\\n\\n' + labels[message['role']] + ': ' + message['content'] }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '\\n\\nAssistant:' }}"
    "{%- elif messages[-1]['role'] == 'assistant' -%}{{ eos_token }}{%- endif -%}"
)
"""The paper's transcript as a chat template, for saved models that other programs are to prompt."""

Message = dict[str, str]


def rendering_for(tokenizer: Any, kind: RenderingKind) -> Rendering:
    """The rendering that a recipe asks for; raises ModelError for `chat` without a template.

    A tokenizer that holds `TRANSCRIPT_TEMPLATE` belongs to a model that Solon trained on transcripts.
    """
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, str) and template.endswith(TRANSCRIPT_TEMPLATE):
        return TranscriptRendering()
    has_template = bool(template)
    if kind is RenderingKind.CHAT and not has_template:
        raise ModelError("the tokenizer has no chat template", remedy="Use --set engine.rendering=transcript")
    if kind is RenderingKind.TRANSCRIPT or not has_template:
        return TranscriptRendering()
    return ChatRendering(tokenizer)


class ChatRendering:
    """The tokenizer's own chat template."""

    name = "chat"

    def __init__(self, tokenizer: Any) -> None:
        """Reads off the template how it opens and closes a reply; raises ModelError when it cannot hold a dialogue."""
        self._tokenizer = tokenizer
        self._shared: dict[tuple[Turn, ...], str] = {}
        ask, more = {"role": "user", "content": "a"}, {"role": "user", "content": _NEXT}
        told = {"role": "assistant", "content": _PROBE}
        asked = self._apply([ask], cue=True)
        dialogue = self._apply([ask, told, more], cue=False)
        before, _, after = dialogue.partition(_PROBE)
        if not after:
            raise ModelError(
                "the chat template does not show the assistant's turns",
                remedy="Use --set engine.rendering=transcript",
            )
        self._lead = before[len(asked) :] if before.startswith(asked) else ""
        special = _special_texts(tokenizer)
        self._stops = _stops(after.partition(_NEXT)[0], special)
        self._special = re.compile("|".join(map(re.escape, special)) or r"(?!)")
        self._takes_system = self._accepts_system()

    def render(self, prompt: Prompt) -> tuple[str, str]:
        """See `Rendering.render`; raises ModelError when the template refuses the turns.

        The shared part is empty where the template writes the leading turns otherwise when more follow.
        """
        whole = self._apply(self.messages(prompt.turns), cue=True)
        shared = self._shared_text(prompt.turns[: prompt.shared])
        if not whole.startswith(shared):
            shared = ""
        return shared, whole[len(shared) :] + prompt.opening

    def completion(self, reply: str) -> str:
        """The reply after whatever white space the template puts between its cue and an assistant's words."""
        return f"{self._lead}{reply}"

    def stops(self) -> tuple[str, ...]:
        """What the template writes between an assistant's turn and the next user turn."""
        return self._stops

    def messages(self, turns: Sequence[Turn]) -> list[Message]:
        """The turns as the template is given them, for programs that apply it themselves."""
        messages: list[Message] = []
        for turn in turns:
            side = _side(turn.role)
            if side == "system" and not self._takes_system:
                side = "user"
            content = self._plain(turn.content)
            if messages and messages[-1]["role"] == side:
                messages[-1]["content"] += f"\n\n{content}"
            else:
                messages.append({"role": side, "content": content})
        return messages

    def _shared_text(self, turns: tuple[Turn, ...]) -> str:
        if not turns:
            return ""
        if turns not in self._shared:
            if len(self._shared) >= _CACHED:
                self._shared.clear()
            self._shared[turns] = self._apply(self.messages(turns), cue=False)
        return self._shared[turns]

    def _plain(self, content: str) -> str:
        """What people and models wrote, with a space in each special token's text: only the template ends a turn."""
        return self._special.sub(lambda found: f"{found[0][0]} {found[0][1:]}", content)

    def _accepts_system(self) -> bool:
        try:
            shown = self._apply([{"role": "system", "content": _PROBE}, {"role": "user", "content": "a"}], cue=False)
        except ModelError:
            return False
        return _PROBE in shown

    def _apply(self, messages: list[Message], *, cue: bool) -> str:
        from jinja2.exceptions import TemplateError

        try:
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=cue))
        except TemplateError as error:
            raise ModelError(
                f"the chat template refuses these turns ({error})", remedy="Use --set engine.rendering=transcript"
            ) from error


def _side(role: Role) -> str:
    if role is Role.SYSTEM:
        return "system"
    return "assistant" if role in MODEL_ROLES else "user"


def _special_texts(tokenizer: Any) -> list[str]:
    added = [str(token) for token in getattr(tokenizer, "added_tokens_decoder", {}).values()]
    return sorted({*tokenizer.all_special_tokens, *added} - {""}, key=len, reverse=True)


def _stops(between: str, special: Sequence[str]) -> tuple[str, ...]:
    """The special tokens among the words between two turns, in order; those words themselves when there are none."""
    found = sorted((between.index(text), text) for text in special if text in between)
    if found:
        return tuple(text for _, text in found)
    return (between.rstrip(),) if between.strip() else ()
