"""The rows of the tables that hold texts: prompts, replies, revisions, pairs and labels.

Each row is a frozen dataclass. Its fields, in their order, are the columns of the table: `solon.runs.records` makes the
Parquet schema from the class, and code that reads a table reads attributes. Columns follow TRL's conversational format,
so that other trainers read the tables as they are: `prompt` is a list of messages, in Python a `Conversation`, and a
reply is a list of one assistant message, in Python a text. `training_rows` and `evaluation_rows` have the other tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from solon.conversation import Conversation
from solon.runs.outcome import Outcome
from solon.runs.records import Reply

R = TypeVar("R")


class PromptKind(StrEnum):
    """What a prompt is for."""

    RED_TEAM = "red_team"
    HELPFUL = "helpful"
    HELD_OUT_HARMFUL = "held_out_harmful"
    HELD_OUT_BENIGN = "held_out_benign"


TRAINING_KINDS = (PromptKind.RED_TEAM, PromptKind.HELPFUL)
HELD_OUT_KINDS = (PromptKind.HELD_OUT_HARMFUL, PromptKind.HELD_OUT_BENIGN)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRow:
    """01-prompts: a prompt, and the file and line that it comes from."""

    row_id: str
    kind: PromptKind
    prompt: Conversation
    source: str
    line: int | None = None
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRow:
    """02-responses: one reply of the assistant to a prompt."""

    row_id: str
    kind: PromptKind
    sample: int
    prompt: Conversation
    completion: Reply
    thinking: str | None = None
    finish: str
    seed: int | None = None
    outcome: Outcome
    defects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Critique:
    """A critique of a reply, in the journal of 03; without a critique every field is empty."""

    critique: str | None = None
    critique_thinking: str | None = None
    critique_finish: str | None = None
    critique_outcome: Outcome | None = None
    critique_defects: tuple[str, ...] = ()
    critique_seed: int | None = None
    critic: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionCandidate:
    """One of several revisions of a step, from which the best was chosen."""

    opening: str = ""
    completion: str
    finish: str
    seed: int
    outcome: Outcome
    defects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionRow:
    """03-critique-revision: one step of a chain; `before` is the reply before the step."""

    row_id: str
    step: int
    prompt: Conversation
    before: str
    principle_id: str
    critique: str | None = None
    critique_thinking: str | None = None
    critique_seed: int | None = None
    critique_finish: str | None = None
    critique_outcome: Outcome | None = None
    critique_defects: tuple[str, ...] = ()
    completion: Reply
    thinking: str | None = None
    finish: str | None = None
    seed: int | None = None
    critic: str | None = None
    reviser: str | None = None
    outcome: Outcome
    defects: tuple[str, ...] = ()
    candidates: tuple[RevisionCandidate, ...] = ()
    """All revisions of the step, where several were written."""
    chosen_by: str | None = None
    """The preference principle by which the last comparison of candidates was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow:
    """05-response-pairs: two replies to one prompt; `pair` counts the pairs of a prompt from 1."""

    row_id: str
    pair: int
    prompt: Conversation
    kind: PromptKind | None = None
    """What the prompt is for; None where a file of pairs does not say."""
    response_a: str
    response_b: str
    thinking_a: str | None = None
    thinking_b: str | None = None
    seed_a: int | None = None
    seed_b: int | None = None
    finish_a: str | None = None
    finish_b: str | None = None
    outcome: Outcome
    defects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisLabel:
    """The label of a pair on one axis."""

    axis: str
    weight: float = 1.0
    principle_id: str = ""
    p_a: float | None = None
    p_a_unclamped: float | None = None
    undecided_because: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One judge's judgement of a pair on one axis; an order without an answer has no log-odds.

    `votes_ab` and `votes_ba` are the votes for the letter A and all votes; `letter_mass` is the mean P(A) + P(B).
    """

    judge: str
    axis: str
    principle_id: str
    p_a: float | None = None
    log_odds_ab: float | None = None
    log_odds_ba: float | None = None
    letter_mass: float | None = None
    votes_ab: tuple[int, ...] | None = None
    votes_ba: tuple[int, ...] | None = None
    reasoning_ab: tuple[str, ...] | None = None
    reasoning_ba: tuple[str, ...] | None = None
    thinking_ab: tuple[str, ...] | None = None
    thinking_ba: tuple[str, ...] | None = None
    undecided_because: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCheckRow:
    """The check of a judge before it labels, in the journal of 06."""

    judge: Mapping[str, Any] | None = None

    def facts(self) -> dict[str, Any]:
        """The check for the stage's facts."""
        return {} if self.judge is None else {"judge": dict(self.judge)}


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRow:
    """One judge's judgements of a pair, one for each axis, in the journal of 06."""

    judgements: tuple[Judgement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """06-ai-feedback: a pair with its label; `judgements` has one entry for each judge and axis."""

    row_id: str
    pair: int
    prompt: Conversation
    chosen: Reply | None = None
    rejected: Reply | None = None
    p_chosen: float | None = None
    response_a: str
    response_b: str
    p_a: float | None = None
    p_a_unclamped: float | None = None
    log_odds_ab: float | None = None
    log_odds_ba: float | None = None
    principle_id: str = ""
    judge: str = ""
    axes: tuple[AxisLabel, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    outcome: Outcome
    undecided_because: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedTeamAnswer:
    """A model's answer to one request for prompts, in the journal of red-team."""

    request: int
    examples: tuple[str, ...]
    seed: int
    text: str
    finish: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RedTeamRow:
    """red-team: one prompt that a model wrote; `examples` are the row ids of the prompts that it saw."""

    row_id: str
    request: int
    position: int
    prompt: Conversation
    examples: tuple[str, ...]
    finish: str
    seed: int
    outcome: Outcome
    defects: tuple[str, ...] = ()


class HasOutcome(Protocol):
    """A row with an outcome."""

    @property
    def outcome(self) -> Outcome:
        """Why the row is, or is not, fit for training."""
        ...


class OfKind(HasOutcome, Protocol):
    """A row with the kind of its prompt."""

    @property
    def kind(self) -> PromptKind:
        """What the prompt is for."""
        ...


class Rows(Protocol[R]):
    """A source of rows of one type: the artefact of a stage, or files."""

    def rows(self, row: type[R], /) -> list[R]:
        """All rows, in order."""
        ...


H = TypeVar("H", bound=HasOutcome)
K = TypeVar("K", bound=OfKind)


def good(rows: Iterable[H]) -> list[H]:
    """The rows with the outcome `ok`."""
    return [row for row in rows if row.outcome is Outcome.OK]


def good_of(rows: Iterable[K], *kinds: PromptKind) -> list[K]:
    """The rows of the given kinds with the outcome `ok`."""
    return [row for row in rows if row.outcome is Outcome.OK and row.kind in kinds]


def comparable(rows: Iterable[LabelRow]) -> list[LabelRow]:
    """The labelled pairs with the outcome `ok` and two replies that are not empty."""
    return [row for row in good(rows) if (row.chosen or "").strip() and (row.rejected or "").strip()]
