"""A conversation with a model, whose last reply can be criticised and revised by a principle of a constitution.

Replies, critiques and revisions are those of the stages: the same questions, checks and settings, and seeds from what
they are for, so that the first reply to a prompt is the one that a run with the same seed trains on. A revision takes
the place of the reply, and the conversation goes on with it. Every change is a new state, so that it can be undone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from solon import prompts
from solon.checks.texts import check_reply
from solon.config.located_yaml import suggestion
from solon.config.recipe import Recipe, RevisionMode
from solon.constitution.constitution import (
    Constitution,
    CritiqueExample,
    RevisionPrinciple,
    draw,
    revision_principles,
    worked_critiques,
)
from solon.conversation import Conversation, Role, Turn, is_blank
from solon.digest import seed_for
from solon.engines.base import Engine
from solon.errors import EngineError, InputError
from solon.feedback.ask import ask, fits_window
from solon.feedback.critiques import Link, criticise, critique_failed, revision_request
from solon.feedback.revision_candidates import revise
from solon.runs.files import reporting_write_errors
from solon.runs.outcome import Outcome

Score = Callable[[Conversation], float | None]
"""The score of a conversation that ends on a reply; None for one that is too long to be scored."""


@dataclass(frozen=True, slots=True)
class RevisedReply:
    """A critique and revision that were done: the reply before it, and the principle."""

    turn: int
    """The position of the reply among the turns."""
    principle_id: str
    before: str
    critique: str | None
    revision: str


@dataclass(frozen=True, slots=True)
class ChatState:
    """The conversation so far, ending on a reply where it is not empty, and what was done to its replies."""

    turns: tuple[Turn, ...] = ()
    link: Link | None = None
    """The critique of the last reply that waits for a revision."""
    revised: tuple[RevisedReply, ...] = ()

    @property
    def conversation(self) -> Conversation:
        """The turns as a conversation."""
        return Conversation(self.turns)

    @property
    def steps(self) -> int:
        """How often the last reply was revised."""
        return sum(each.turn == len(self.turns) - 1 for each in self.revised)


@dataclass(frozen=True, slots=True)
class ChatText:
    """What a model wrote: a reply, a critique or a revision, with what its checks found."""

    text: str
    outcome: Outcome
    defects: tuple[str, ...] = ()
    score: float | None = None
    """Of the conversation up to this text, where a preference model scores."""


@dataclass(slots=True)
class ChatSession:
    """A conversation in progress; `critic` opens the model that criticises and revises when it is first needed."""

    engine: Engine
    recipe: Recipe
    constitution: Constitution
    critic: Callable[[], Engine]
    score: Score | None = None
    _states: list[ChatState] = field(default_factory=lambda: [ChatState()])
    _asked: dict[str, int] = field(default_factory=dict)
    """How often each conversation was answered, so that the same words after an undo get another reply."""

    @property
    def state(self) -> ChatState:
        """The conversation as it is now."""
        return self._states[-1]

    @property
    def principles(self) -> tuple[RevisionPrinciple, ...]:
        """The principles to criticise and revise by."""
        return revision_principles(self.recipe.revision, self.constitution)

    def say(self, text: str) -> ChatText:
        """The model's reply to a message; without a text the conversation stays as it was.

        Raises InputError for a blank message, and EngineError where no room is left in the window.
        """
        if is_blank(text):
            raise InputError("the message is empty", place="chat", remedy="Write something, or /quit")
        conversation = Conversation((*self.state.turns, Turn(Role.HUMAN, text.strip())))
        sampling, question = self.recipe.responses.sampling, prompts.reply(conversation)
        if not fits_window(self.engine, question, sampling.max_tokens):
            raise EngineError(
                f"the conversation leaves no room for {sampling.max_tokens} tokens in the window of "
                f"{self.engine.window}",
                place=self.engine.name,
                remedy="/undo or /reset, or start again with a smaller --max-tokens",
            )
        sample = self._asked.get(conversation.row_id, 0)
        seed = seed_for(self.recipe.seed, "responses", conversation.row_id, sample)
        checked = check_reply(ask(self.engine, [question], [seed], sampling)[0])
        self._asked[conversation.row_id] = sample + 1
        if not is_blank(checked.text):
            replied = conversation.with_reply(checked.text)
            self._states.append(replace(self.state, turns=replied.turns, link=None))
        return self._shown(checked.text, checked.outcome, [each.value for each in checked.defects])

    def criticise(self, name: str | None = None) -> tuple[RevisionPrinciple, ChatText]:
        """The critique of the last reply by the principle of that name; by a drawn one when it is None.

        A good critique waits for `revise`. Raises InputError where there is no reply, or no such principle.
        """
        link = self._link(self._principle(name))
        critique = criticise(self.recipe.revision, self.recipe.seed, [link], self._examples(), self.critic())[0]
        criticised = replace(link, critique=critique)
        if critique_failed(criticised) is None:
            self._states.append(replace(self.state, link=criticised))
        outcome = critique.critique_outcome or Outcome.OK
        return link.principle, ChatText(critique.critique or "", outcome, critique.critique_defects)

    def revise(self, name: str | None = None) -> tuple[RevisionPrinciple, ChatText]:
        """The revision of the last reply after the critique that waits, or directly where the recipe says so.

        A good revision takes the reply's place. Raises InputError where there is no reply, no critique by that
        principle, or no such principle.
        """
        link = self.state.link
        if link is None or (name is not None and self._principle(name).id != link.principle.id):
            if not self.revises_directly:
                raise InputError("no critique waits for a revision", place="chat", remedy="Write /critique first")
            link = self._link(self._principle(name))
        request = revision_request(self.recipe.revision, link, self._examples())
        written = revise(self.recipe.revision, self.recipe.seed, [request], self.critic(), None)[0].revision.checked
        if written.outcome is Outcome.OK:
            self._take(link, written.text)
        return link.principle, self._shown(written.text, written.outcome, [each.value for each in written.defects])

    @property
    def revises_directly(self) -> bool:
        """Whether revisions have no critique before them (section 3.5 of the paper)."""
        return self.recipe.revision.mode is RevisionMode.DIRECT

    def awaits_revision(self, name: str | None) -> bool:
        """Whether a critique by that principle, or by any when None, waits for its revision."""
        link = self.state.link
        return link is not None and (name is None or self._principle(name).id == link.principle.id)

    def undo(self) -> bool:
        """Take the last change back; false when there is none."""
        if len(self._states) == 1:
            return False
        self._states.pop()
        return True

    def reset(self) -> None:
        """Begin a new conversation; `undo` brings the old one back."""
        self._states.append(ChatState())

    def save(self, file: Path) -> None:
        """Add the conversation to a file as a line of JSON, in the form that Solon reads as a conversation.

        Raises InputError when there is nothing to save, and RunError when the file cannot be written.
        """
        state = self.state
        if not state.turns:
            raise InputError("there is no conversation to save yet", place="chat", remedy="Write a message first")
        revised = [
            {"turn": each.turn, "principle_id": each.principle_id, "before": each.before, "critique": each.critique}
            for each in state.revised
        ]
        line = {"messages": state.conversation.messages(), "model": self.engine.name}
        line |= {"constitution": self.constitution.name, "revised": revised} if revised else {}
        with reporting_write_errors(file), file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _shown(self, text: str, outcome: Outcome, defects: Sequence[str]) -> ChatText:
        """A reply or revision with its score, whether or not the conversation goes on with it."""
        known = self.score is not None and not is_blank(text)
        turns = self.state.turns[:-1]
        score = self.score(Conversation(turns).with_reply(text)) if known and turns and self.score else None
        return ChatText(text, outcome, tuple(defects), score)

    def _principle(self, name: str | None) -> RevisionPrinciple:
        principles = self.principles
        if name is None:
            conversation = Conversation(self.state.turns[:-1])
            return draw(principles, self.recipe.seed, conversation.row_id, self.state.steps + 1)
        known = {each.id: each for each in principles}
        numbered = {str(number): each for number, each in enumerate(principles, start=1)}
        found = known.get(name) or numbered.get(name)
        if found is None:
            raise InputError(f"no principle '{name}'", place=self.constitution.name, remedy=suggestion(name, known))
        return found

    def _link(self, principle: RevisionPrinciple) -> Link:
        *turns, last = self.state.turns or (Turn(Role.HUMAN, ""),)
        if last.role is not Role.ASSISTANT:
            raise InputError("there is no reply to criticise yet", place="chat", remedy="Write a message first")
        conversation = Conversation(tuple(turns))
        return Link(conversation.row_id, conversation, last.content, self.state.steps + 1, principle)

    def _examples(self) -> tuple[CritiqueExample, ...]:
        return worked_critiques(self.recipe.revision, self.constitution)

    def _take(self, link: Link, revision: str) -> None:
        """Go on with a revision in place of the reply."""
        critique = None if link.critique is None else link.critique.critique
        done = RevisedReply(len(link.conversation.turns), link.principle.id, link.reply, critique, revision)
        turns = link.conversation.with_reply(revision).turns
        self._states.append(ChatState(turns, None, (*self.state.revised, done)))
