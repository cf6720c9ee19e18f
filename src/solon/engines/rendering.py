"""Prompts through a tokenizer's chat template.

Everything the model writes (replies, critiques, revisions, answers) becomes an assistant turn, everything else a user
turn. Neighbours on the same side are merged with a blank line, because templates insist on alternation. How a reply
opens and ends is found by rendering a probe, never assumed from a model's name: a conversation that ends on a reply
shows what comes before the reply's first word and what closes its turn. Training and scoring use the text of the
conversation up to the end of that turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from solon.config.recipe import EngineSettings, RenderingKind, Thinking
from solon.conversation import LABELS, MODEL_ROLES, Prompt, Rendering, Role, TranscriptRendering, Turn
from solon.engines.templates import (
    AS_TRANSCRIPT,
    EARLIER_TRANSCRIPT_TEMPLATE,
    THINKING_SWITCHES,
    TRANSCRIPT_TEMPLATE,
    TemplateFrame,
    applied,
    candidates,
    template_of,
)
from solon.engines.thinking import Tags, opened_in, tags_known
from solon.engines.token_rows import common_length
from solon.errors import ModelError

_PROBE = "solonprobe"
_NEXT = "solonnext"
_CACHED = 64
_BRACKETED = re.compile(r"[^\w\s].*[^\w\s]", re.S)
"""The form of a turn mark such as `<|im_start|>` or `[INST]`; a word of the template is not one."""
SPOKEN = frozenset({Role.REASONING, Role.ANSWER})
"""Roles whose label is part of what the model says: "Let's think step by step: ...", "The answer is: (A)"."""

Message = dict[str, str]


def rendering_for(tokenizer: Any, settings: EngineSettings | None = None) -> Rendering:
    """The rendering of a recipe; raises ModelError for `chat` without a template.

    A tokenizer that holds `TRANSCRIPT_TEMPLATE` belongs to a model that Solon trained on transcripts.
    """
    settings = settings or EngineSettings()
    if settings.rendering is RenderingKind.TRANSCRIPT:
        return TranscriptRendering()
    template = template_of(tokenizer, settings.template, settings.date)
    if template is None and settings.rendering is RenderingKind.CHAT:
        raise ModelError("the tokenizer has no chat template", remedy=AS_TRANSCRIPT)
    if template is None or template.endswith((TRANSCRIPT_TEMPLATE, EARLIER_TRANSCRIPT_TEMPLATE)):
        return TranscriptRendering()
    return ChatRendering(tokenizer, settings)


class ChatRendering:
    """The tokenizer's own chat template."""

    name = "chat"

    def __init__(self, tokenizer: Any, settings: EngineSettings | None = None) -> None:
        """Finds how the template opens and closes a reply; raises ModelError when it cannot show a dialogue."""
        settings = settings or EngineSettings()
        self._tokenizer = tokenizer
        self._template = template_of(tokenizer, settings.template, settings.date) or ""
        self._thinks = settings.thinking is Thinking.ON
        self._shared: dict[tuple[Turn, ...], str] = {}
        ask, more = {"role": "user", "content": "a"}, {"role": "user", "content": _NEXT}
        reply = {"role": "assistant", "content": _PROBE}
        asked = self._apply([ask], cue=True)
        final = self._apply([ask, reply], cue=False)
        dialogue = self._apply([ask, reply, more], cue=False)
        if any(text.count(_PROBE) != 1 for text in (final, dialogue)) or _NEXT not in dialogue:
            raise ModelError("the chat template does not show the assistant's turns once each", remedy=AS_TRANSCRIPT)
        added = _added_texts(tokenizer)
        self.tags: tuple[Tags, ...] = tags_known(self._template, added)
        between = dialogue.partition(_PROBE)[2].partition(_NEXT)[0]
        special = special_texts(tokenizer)
        scaffold = asked + final + dialogue
        # A template may mark turns by added tokens that the tokenizer does not call special.
        marks = [*special, *(text for text in added if _BRACKETED.fullmatch(text) and text in scaffold)]
        self._marks = mark_pattern(marks)
        self._special = mark_pattern(marks, spellable=True)
        opener = self._apply([more], cue=False).partition(_NEXT)[0]
        after = final.partition(_PROBE)[2]
        ending = self._ending(after, between, opener)
        self.opened: Tags | None = None
        self.frame = self._frame(asked, self._apply([ask], cue=False), final.partition(_PROBE)[0], ending)
        self._stops = self._read_stops(after, between, ending)
        self._takes_system = self._accepts_system()

    @property
    def ending(self) -> str:
        """The text that closes a reply's turn; its last token ends the reply."""
        return self.frame.ending

    def render(self, prompt: Prompt) -> tuple[str, str]:
        """See `Rendering.render`; raises ModelError when the template refuses the turns.

        The shared part is empty where the template writes the leading turns differently when more follow. Words that
        open the reply, and turns of the model right before it (reasoning before an answer), are in the same turn.
        """
        turns, begun = list(prompt.turns), [label_and_opening(prompt)]
        while turns and turns[-1].role in MODEL_ROLES and prompt.reply_as in MODEL_ROLES:
            begun.insert(0, self._said(turns.pop()))
        whole = self._apply(self.messages(turns), cue=True) + self.frame.cue
        if words := "\n\n".join(begun):
            whole += self.frame.lead + words
        shared = self._shared_text(prompt.turns[: prompt.shared], turns[prompt.shared :])
        if not whole.startswith(shared):
            shared = ""
        return shared, whole[len(shared) :]

    def completion(self, reply: str, reply_as: Role = Role.ASSISTANT) -> str:
        """See `Rendering.completion`: a space after a label, else what the template puts before a reply."""
        return f" {self._plain(reply)}" if reply_as in SPOKEN else f"{self.frame.lead}{self._plain(reply)}"

    def stops(self) -> tuple[str, ...]:
        """The text that the template writes between an assistant's turn and the next user turn."""
        return self._stops

    def opened_by(self, prompt: Prompt) -> Tags | None:
        """The block of thoughts in which the completion of a prompt begins, if its cue opens one."""
        words = label_and_opening(prompt) or (prompt.turns and prompt.turns[-1].role in MODEL_ROLES)
        return None if words else self.opened

    def messages(self, turns: Sequence[Turn]) -> list[Message]:
        """The turns as messages for the template, for programs that apply it themselves."""
        messages: list[Message] = []
        for turn in turns:
            side = side_of(turn.role)
            if side == "system" and not self._takes_system:
                side = "user"
            content = self._said(turn)
            if messages and messages[-1]["role"] == side:
                messages[-1]["content"] += f"\n\n{content}"
            else:
                messages.append({"role": side, "content": content})
        return messages

    def saved_template(self) -> str:
        """A chat template for a model trained on this rendering: it writes exactly what training shows.

        Prompts and whole conversations are compared on probes, without variables of this program. Raises ModelError
        when no template matches.
        """
        for template in candidates(self._template, self.frame, thinking=self._thinks):
            if self._written_by(template):
                return template
        raise ModelError(
            "no chat template could be written that shows what this model is trained on", remedy=AS_TRANSCRIPT
        )

    def _written_by(self, template: str) -> bool:
        for probe in _probes(self._takes_system):
            prompt, reply = Prompt(probe[:-1]), probe[-1].content
            shown = "".join(self.render(prompt))
            wanted = shown + self.completion(reply) + self.ending
            try:
                cued = applied(self._tokenizer, template, self.messages(probe[:-1]), cue=True)
                written = applied(self._tokenizer, template, self.messages(probe), cue=False)
            except ModelError:
                return False
            if cued != shown or written != wanted:
                return False
        return True

    def _ending(self, after: str, between: str, opener: str) -> str:
        """What closes a reply's turn, up to its first mark; the end token where the template closes no turn.

        Some templates close a turn only in the middle of a dialogue; there a mark that only opens the next turn does
        not count. Where ordinary words close a turn, the end token follows them, so that other programs know where to
        stop.
        """
        next_opener = common_length(between[::-1], opener[::-1])
        for text in (after, between[: len(between) - next_opener]):
            if mark := self._marks.search(text):
                return text[: mark.end()]
        end = self._tokenizer.eos_token
        if not end:
            raise ModelError(
                "neither the chat template nor the tokenizer says how a reply ends",
                remedy="Name an eos_token in tokenizer_config.json",
            )
        return f"{_closing_words(after, between)}{end}"

    def _frame(self, asked: str, uncued: str, before: str, ending: str) -> TemplateFrame:
        """The text between the template's cue and a reply: words go to the cue, white space to the reply.

        A reasoning model has its thoughts there. Unless the model is to think, the cue closes them, empty.
        """
        opened = opened_in(asked, self.tags)
        own = asked[common_length(asked, uncued) :]
        if before.startswith(asked):
            rest = before[len(asked) :]
        elif own.strip() and own in before:
            rest = before[before.rindex(own) + len(own) :]
        elif opened and own[: own.rindex(opened.opening)].rstrip() in before:
            rest = f"\n{opened.closing}\n\n"  # the cue opens thoughts, and the template drops those of earlier turns
        else:
            raise _unlike_cue()
        if opened and opened.closing not in rest:
            raise _unlike_cue()
        thoughts = opened or next((each for each in self.tags if rest.lstrip().startswith(each.opening)), None)
        if thoughts and self._thinks:
            self.opened = opened
            return TemplateFrame("", rest, ending)
        # White space belongs to the reply's first token in most vocabularies, unless a line ends there.
        cue = rest.rstrip(" ") if rest.strip() else ""
        return TemplateFrame(cue, rest[len(cue) :], ending)

    def _read_stops(self, after: str, between: str, ending: str) -> tuple[str, ...]:
        shown = ending + between if self._marks.search(after) else between
        found = list(dict.fromkeys(mark[0] for mark in self._marks.finditer(shown)))
        words = "" if self._marks.search(between) else _closing_words(after, between) or between.rstrip()
        return (*found, *([words] if words else []))

    def _shared_text(self, turns: tuple[Turn, ...], rest: Sequence[Turn]) -> str:
        """The text of the leading turns up to the first word of the user turn after them.

        A user turn after a user turn is a part of the same message.
        """
        if not turns or not rest or side_of(rest[0].role) != "user" or side_of(turns[-1].role) == "system":
            return ""
        if turns not in self._shared:
            if len(self._shared) >= _CACHED:
                self._shared.clear()
            shown = self._apply(self.messages((*turns, Turn(Role.HUMAN, _NEXT))), cue=False)
            self._shared[turns] = shown.rpartition(_NEXT)[0]
        return self._shared[turns]

    def _said(self, turn: Turn) -> str:
        content = self._plain(turn.content)
        return f"{LABELS[turn.role]}: {content}" if turn.role in SPOKEN else content

    def _plain(self, content: str) -> str:
        return spelled_out(self._special, content)

    def _accepts_system(self) -> bool:
        try:
            shown = self._apply([{"role": "system", "content": _PROBE}, {"role": "user", "content": "a"}], cue=False)
        except ModelError:
            return False
        return _PROBE in shown

    def _apply(self, messages: list[Message], *, cue: bool) -> str:
        switches = dict.fromkeys(THINKING_SWITCHES, self._thinks)
        return applied(self._tokenizer, self._template, messages, cue=cue, **switches)


def special_texts(tokenizer: Any) -> list[str]:
    """Tokens marked as special, and those with a role such as the end token, longest first.

    An added token that is not marked is ordinary text: Gemma 3 has added tokens for line feeds and HTML tags, the
    vocabulary of GPT-NeoX for runs of spaces.
    """
    marked = [str(token) for token in getattr(tokenizer, "added_tokens_decoder", {}).values() if token.special]
    return sorted({text for text in (*tokenizer.all_special_tokens, *marked) if text.strip()}, key=len, reverse=True)


def mark_pattern(texts: Iterable[str], *, spellable: bool = False) -> re.Pattern[str]:
    """Matches any of the texts; with `spellable` only those that a space can break."""
    kept = sorted((text for text in texts if not spellable or len(text) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, kept)) or r"(?!)")


def spelled_out(marks: re.Pattern[str], content: str) -> str:
    """The content with a space in the text of each special token: only the template ends a turn."""
    return marks.sub(lambda found: f"{found[0][0]} {found[0][1:]}", content)


def _added_texts(tokenizer: Any) -> list[str]:
    return [str(token) for token in getattr(tokenizer, "added_tokens_decoder", {}).values()]


def side_of(role: Role) -> str:
    """Whose message a turn is in a chat."""
    if role is Role.SYSTEM:
        return "system"
    return "assistant" if role in MODEL_ROLES else "user"


def label_and_opening(prompt: Prompt) -> str:
    """The words that open the reply: the label of its role where that is part of what the model says."""
    if prompt.reply_as not in SPOKEN:
        return prompt.opening
    return f"{LABELS[prompt.reply_as]}: {prompt.opening}".rstrip(" ")


def _closing_words(after: str, between: str) -> str:
    """The words that follow a reply whether or not another turn follows."""
    words = after.rstrip()
    return words if words.strip() and between.startswith(words) else ""


def _probes(takes_system: bool) -> Iterable[tuple[Turn, ...]]:
    human, reply = Turn(Role.HUMAN, "a b"), Turn(Role.ASSISTANT, "c\n\n  d")
    yield human, reply
    yield human, reply, Turn(Role.HUMAN, "e"), Turn(Role.ASSISTANT, "f")
    yield human, Turn(Role.ASSISTANT, " g\n")
    if takes_system:
        yield Turn(Role.SYSTEM, "h"), human, reply


def _unlike_cue() -> ModelError:
    return ModelError("the chat template opens a new reply differently from a written one", remedy=AS_TRANSCRIPT)
