"""The course of a comparison: a human turn, two replies, a vote, and the next turn after the chosen reply.

A conversation is in one of four steps, which follow from its rows alone, so a page that is loaded again, another tab or
another process sees the same. Every turn and vote names its number. Sent twice, it counts once; a different one under a
number that is taken is refused (`OutOfTurn`), and nothing that was saved changes.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from solon.comparisons.hidden_models import AskedTurn
from solon.comparisons.pair_draws import drawn_pair, drawn_place, drawn_reply, reply_seed
from solon.comparisons.vote_rows import (
    CastVote,
    ComparedConversation,
    ComparedTurn,
    JudgedBy,
    Preferred,
    Strength,
    VoteMode,
    prompt_at,
)
from solon.comparisons.vote_store import VoteStore
from solon.conversation import Conversation, is_blank
from solon.errors import InputError
from solon.sources.prompt_files import FoundPrompt

LONGEST_TURN = 20_000
"""Characters of a human turn."""


class OutOfTurn(InputError):
    """A turn or vote does not fit the conversation as it is now; the remedy is to load the page again."""


class CourseStep(StrEnum):
    """What comes next in a conversation."""

    WRITE = "write"
    """The person writes a turn."""
    WAIT = "wait"
    """The models write their replies."""
    VOTE = "vote"
    """The person compares the replies."""
    FAILED = "failed"
    """A model gave no reply: the conversation ends here, and its last turn has no vote."""


@dataclass(frozen=True, slots=True)
class Course:
    """A conversation as it is now."""

    conversation: ComparedConversation
    voted: tuple[tuple[ComparedTurn, CastVote], ...]
    open: ComparedTurn | None
    """The last turn, where it has no vote yet."""

    @property
    def step(self) -> CourseStep:
        """What comes next."""
        if self.open is None:
            return CourseStep.WRITE
        if self.open.reply_a is None:
            return CourseStep.WAIT
        return CourseStep.FAILED if self.open.failed_because else CourseStep.VOTE

    @property
    def number(self) -> int:
        """The number of the turn that is open or is to be written."""
        return len(self.voted) + 1

    def asked(self) -> AskedTurn:
        """The open turn with what its models answer; raises OutOfTurn where there is none."""
        if self.open is None:
            raise _out_of_turn("no turn waits for replies", self.conversation.id)
        return AskedTurn(self.open, prompt_at(self.voted, self.open))


@dataclass(frozen=True, slots=True)
class SentTurn:
    """A human turn that is sent: what number it has, its text, and the prompt that it was taken from, if any."""

    number: int
    text: str
    prompt: FoundPrompt | None = None

    @property
    def is_prompt(self) -> bool:
        """Whether the text is that of the prompt."""
        prompt = self.prompt
        return prompt is not None and _trimmed(prompt.conversation.turns[-1].content) == _trimmed(self.text)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is decided about two replies."""

    preferred: Preferred
    strength: Strength | None = None
    p_a: float | None = None
    undecided_because: str = ""


class TurnTaking:
    """Keeps conversations with hidden models in a file of votes."""

    def __init__(
        self, store: VoteStore, models: Sequence[str], prompts: Mapping[VoteMode, Sequence[FoundPrompt]], seed: int
    ) -> None:
        """`models` are the keys of those that take part; `prompts` those that a person may take, by mode."""
        self.store = store
        self.models = models
        self.prompts = prompts
        self.seed = seed

    def begin(
        self, mode: VoteMode, judged_by: JudgedBy, judge: str = "", id_: str | None = None
    ) -> ComparedConversation:
        """A new conversation, on the disk; with an id that is taken, the one that is there."""
        conversation = ComparedConversation(
            id=id_ or secrets.token_hex(8),
            mode=mode,
            judged_by=judged_by,
            judge=judge,
            seed=self.seed,
            begun_at=_now(),
        )
        self.store.begin(conversation)
        return self.course(conversation.id).conversation

    def course(self, id_: str) -> Course:
        """A conversation as it is now; raises InputError when there is none of that id."""
        conversation = self.store.conversation(id_)
        if conversation is None:
            raise InputError("there is no such conversation", place=id_, remedy="Begin a new one")
        voted: list[tuple[ComparedTurn, CastVote]] = []
        for turn, vote in self.store.turns(id_):
            if vote is None:
                return Course(conversation, tuple(voted), turn)
            voted.append((turn, vote))
        return Course(conversation, tuple(voted), None)

    def suggested(self, course: Course, attempt: int) -> FoundPrompt | None:
        """A prompt for the next turn, drawn from the file of the mode; None without prompts."""
        conversation = course.conversation
        known = self.prompts.get(conversation.mode, ())
        if not known:
            return None
        place = drawn_place(len(known), conversation.seed, conversation.id, course.number, attempt)
        return known[place]

    def send(self, id_: str, sent: SentTurn) -> Course:
        """Add a human turn, with its models drawn; returns the conversation as it is then.

        The same turn twice is one turn. Raises OutOfTurn when another turn has its number, or the vote on the turn
        before is missing, and InputError for an empty text, or a very long one that is no prompt of a file.
        """
        text = _checked(sent)
        course = self.course(id_)
        known = next((turn for turn, _ in course.voted if turn.number == sent.number), course.open)
        if known is not None or sent.number != course.number:
            if known is not None and (known.number, known.text) == (sent.number, text):
                return course
            raise _out_of_turn(f"turn {sent.number} is not what comes next here", id_)
        conversation = course.conversation
        turn = self._turn(conversation, sent, text)
        if not self.store.add_turn(turn):
            return self.send(id_, sent)  # another tab was faster: its turn is there now
        return self.course(id_)

    def _turn(self, conversation: ComparedConversation, sent: SentTurn, text: str) -> ComparedTurn:
        seed, number = conversation.seed, sent.number
        model_a, model_b = drawn_pair(self.models, seed, conversation.id, number)
        prompt = sent.prompt.conversation if sent.prompt is not None else Conversation(())
        return ComparedTurn(
            conversation=conversation.id,
            number=number,
            text=text,
            source=sent.prompt.place if sent.prompt is not None and sent.is_prompt else "",
            opening=Conversation(prompt.turns[:-1] if number == 1 else ()),
            model_a=model_a,
            model_b=model_b,
            seed_a=reply_seed(model_a, seed, conversation.id, number),
            seed_b=reply_seed(model_b, seed, conversation.id, number),
        )

    def vote(self, id_: str, number: int, decision: Decision) -> CastVote:
        """Save the vote on a turn; it is on the disk when this returns.

        The same vote twice is one vote. Raises OutOfTurn for another vote on the turn, or a turn without two replies.
        """
        course = self.course(id_)
        known = next((vote for turn, vote in course.voted if turn.number == number), None)
        if known is not None:
            if (known.preferred, known.strength) == (decision.preferred, decision.strength):
                return known
            raise _out_of_turn(f"turn {number} has another vote already", id_)
        if course.open is None or course.open.number != number or course.step is not CourseStep.VOTE:
            raise _out_of_turn(f"turn {number} has no two replies to compare", id_)
        preferred = decision.preferred
        drawn = drawn_reply(course.conversation.seed, id_, number)
        vote = CastVote(
            conversation=id_,
            number=number,
            preferred=preferred,
            strength=decision.strength,
            continued=preferred if preferred in (Preferred.A, Preferred.B) else drawn,
            p_a=decision.p_a,
            undecided_because=decision.undecided_because,
            cast_at=_now(),
        )
        return vote if self.store.add_vote(vote) else self.vote(id_, number, decision)


def _trimmed(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def _checked(sent: SentTurn) -> str:
    text = _trimmed(sent.text)
    if is_blank(text):
        raise InputError("the turn is empty", remedy="Write something to the assistants")
    if len(text) > LONGEST_TURN and not sent.is_prompt:
        raise InputError(f"the turn has more than {LONGEST_TURN:,} characters", remedy="Shorten it")
    return text


def _out_of_turn(why: str, id_: str) -> OutOfTurn:
    return OutOfTurn(
        f"{why}; the conversation went on, perhaps in another tab", place=id_, remedy="Load the page again"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
