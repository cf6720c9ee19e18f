"""The rows of a file of votes: models, conversations, turns with their two replies, and the vote on each turn.

Reply A is the one that is shown first; which model wrote it is drawn, and stands in the turn. Each row is a frozen
dataclass, and its fields are the columns of its table. `VoteRecord` joins them: it is a line of `votes.jsonl`, and all
that `solon elo` needs. Rows are only added, and a vote is never changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from solon.conversation import Conversation, Role, Turn

NO_REPLY = "a model gave no reply"
NO_ROOM = "the conversation leaves no room for a reply in a model's window"
"""Why a turn has no replies, where no engine failed; these words are of no model in particular."""
IDENTITY_DIGITS = 12
"""How many digits of a model's identity stand in its key."""


class VoteMode(StrEnum):
    """By what a vote chooses, as crowdworkers do in the paper (section 3.3)."""

    HELPFULNESS = "helpfulness"
    HARMLESSNESS = "harmlessness"
    """Red teaming: the less harmful reply is preferred, and a thoughtful one to an evasive one (section 4.4)."""


class Preferred(StrEnum):
    """The better reply of two."""

    A = "a"
    B = "b"
    TIE = "tie"
    UNDECIDED = "undecided"
    """A judge gave no answer; no vote for either, and no tie."""


class Strength(StrEnum):
    """How much better the preferred reply is."""

    SLIGHTLY = "slightly"
    CLEARLY = "clearly"
    MUCH = "much"


class JudgedBy(StrEnum):
    """Who compares."""

    PERSON = "person"
    MODEL = "model"
    ORACLE = "oracle"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedModel:
    """A model that takes part. Its name alone is not enough: under one name there may be other weights tomorrow."""

    key: str
    """The name with the first digits of the identity, `rl@0123456789ab`."""
    name: str
    spec: str
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSetting:
    """What all votes of a file have in common, such as how replies are sampled. Never changed."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedConversation:
    """A conversation with hidden models."""

    id: str
    mode: VoteMode
    judged_by: JudgedBy
    judge: str
    """Who: a model's name, `oracle`, or what the person entered as a name, if anything."""
    seed: int
    """All draws of the conversation depend on it, its id and the number of the turn."""
    begun_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedTurn:
    """A human turn, the two models that reply, and their replies once they are written."""

    conversation: str
    number: int
    """From 1."""
    text: str
    source: str
    """Where a prompt was taken, `file:line`; empty where a person wrote it."""
    opening: Conversation
    """The turns of the prompt before this one, where a conversation begins with a prompt of several turns."""
    model_a: str
    """The key of the model whose reply is shown first."""
    model_b: str
    seed_a: int
    seed_b: int
    reply_a: str | None = None
    """None until it is written."""
    reply_b: str | None = None
    finish_a: str | None = None
    """Why the text ended (`solon.engines.base.Finish`)."""
    finish_b: str | None = None
    failed_because: str = ""
    """Why an engine gave no reply, in words."""

    def reply(self, side: Preferred) -> str:
        """The reply of a side; empty where there is none."""
        return (self.reply_a if side is Preferred.A else self.reply_b) or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CastVote:
    """The vote on a turn. Never changed: the conversation continues from it."""

    conversation: str
    number: int
    preferred: Preferred
    strength: Strength | None = None
    """None for a tie."""
    continued: Preferred
    """The reply with which the conversation continues, A or B: the preferred one, or one drawn where none is."""
    p_a: float | None = None
    """A judging model's probability that reply A is better."""
    undecided_because: str = ""
    cast_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedVote:
    """What a rating needs of a vote; lines of other programs may have just these columns."""

    conversation: str = ""
    """Votes of one conversation are resampled together; empty for a conversation of its own."""
    number: int = 0
    """The number of the turn, from 1; 0 where it is not known."""
    mode: VoteMode
    model_a: str
    model_b: str
    preferred: Preferred
    judged_by: JudgedBy = JudgedBy.PERSON
    judge: str = ""
    """A judging model's name, or what a person entered; empty where it is not known."""
    cast_at: str = ""

    @property
    def voter(self) -> str:
        """Who judged, for counts: `person` for all people together, else the judge's name."""
        return str(self.judged_by) if self.judged_by is JudgedBy.PERSON or not self.judge else self.judge


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteRecord:
    """A vote with its conversation, turn and models: a line of `votes.jsonl`."""

    conversation: str
    number: int
    mode: VoteMode
    judged_by: JudgedBy
    judge: str
    prompt: Conversation
    """The conversation up to the human turn that both models answer."""
    source: str
    model_a: str
    model_b: str
    reply_a: str
    reply_b: str
    finish_a: str
    finish_b: str
    seed: int
    seed_a: int
    seed_b: int
    preferred: Preferred
    strength: Strength | None = None
    continued: Preferred
    p_a: float | None = None
    undecided_because: str = ""
    cast_at: str


def prompt_at(before: Sequence[tuple[ComparedTurn, CastVote]], turn: ComparedTurn) -> Conversation:
    """The conversation that both models answer: the turns before with the chosen replies, and this one."""
    first = before[0][0] if before else turn
    turns = list(first.opening.turns)
    for earlier, vote in before:
        turns += [Turn(Role.HUMAN, earlier.text), Turn(Role.ASSISTANT, earlier.reply(vote.continued))]
    return Conversation((*turns, Turn(Role.HUMAN, turn.text)))
