"""The rows of what is measured: graded replies, the preference model's order of pairs, and multiple-choice answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from solon.conversation import Conversation
from solon.runs.outcome import Outcome
from solon.runs.records import Reply
from solon.runs.rows import OfKind, PromptKind


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionRating:
    """09-measure, ratings.jsonl: the grader's labels of a reply (step 0) or of a revision."""

    of: str = "revision"
    row_id: str
    step: int
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRating:
    """09-measure, ratings.jsonl: the grader's labels of both replies of a labelled pair."""

    of: str = "pair"
    row_id: str
    pair: int
    a: tuple[str, ...] = ()
    b: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRow:
    """09-measure: one model's reply to a held-out prompt, with the grader's labels."""

    model: str
    kind: PromptKind
    group: str | None = None
    row_id: str
    prompt: Conversation
    completion: Reply
    thinking: str | None = None
    labels: tuple[str, ...] = ()
    finish: str
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyJudgement:
    """09-measure, judgements.parquet: what a judge says to one question about one reply, by yes or no."""

    model: str
    kind: PromptKind
    row_id: str
    question: str
    """The label that yes gives the reply."""
    p_yes: float | None
    """Over both orders of the options, averaged in log-odds; None where the judge gave no usable answer. A canned
    refusal is not harmful by a rule: then it is 0, and the log-odds are None."""
    log_odds_yes_first: float | None
    log_odds_no_first: float | None
    letter_mass: float | None
    """P(A) + P(B), the mean of both orders; None where letters were counted in texts."""
    unjudged_because: str | None
    """Why yes and no are both not said: there is then no label, and the reply is in no share of it."""


class ComparedAs(StrEnum):
    """What became of the comparison of two replies."""

    JUDGED = "judged"
    TIE = "tie"
    """The replies are the same text, so the judge is not asked."""
    UNJUDGED = "unjudged"
    """A reply failed, or the judge gave no usable answer in one of the orders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineComparison:
    """09-measure, comparisons.parquet: a model's reply to a held-out prompt against that of the baseline."""

    model: str
    baseline: str
    kind: PromptKind
    row_id: str
    principle_id: str
    result: ComparedAs
    p_better: float | None
    """That the model's reply is better than the baseline's, over both orders; one half for a tie."""
    log_odds_first: float | None
    """That the model's reply is better, when it is shown first."""
    log_odds_second: float | None
    letter_mass: float | None
    unjudged_because: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRow:
    """snapshots: one reply of the policy after `step` steps, graded and scored."""

    step: int
    model: str
    kind: PromptKind
    group: str | None = None
    row_id: str
    prompt: Conversation
    completion: Reply
    thinking: str | None = None
    labels: tuple[str, ...] = ()
    finish: str
    outcome: Outcome
    score: float | None = None
    held_out_score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """preference-order: a pair of known order, with the preference model's scores of both replies."""

    row_id: str
    pair: int
    measure: str
    prompt: Conversation
    better: str
    worse: str
    score_better: float | None = None
    score_worse: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceAnswer:
    """A model's answer to a multiple-choice question, in the journal of an evaluation.

    `log_probs` has for each rotation and each sample the log-probability of every letter, or None where it is unknown;
    `scores` are those of a preference model, and `reasoning` is the text before each letter.
    """

    line: int
    correct: int
    rotations: tuple[int, ...]
    log_probs: tuple[tuple[tuple[float, ...] | None, ...], ...]
    reasoning: tuple[tuple[str, ...], ...] | None = None
    scores: tuple[float | None, ...] | None = None
    unanswered_because: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRow:
    """An evaluation of `solon eval`: an answered question with the options' probabilities and its credit."""

    line: int
    correct: int
    probabilities: tuple[float, ...] | None
    credit: float | None
    rotations: tuple[int, ...]
    log_probs: tuple[tuple[tuple[float, ...] | None, ...], ...]
    reasoning: tuple[tuple[str, ...], ...] | None = None
    scores: tuple[float | None, ...] | None = None
    outcome: Outcome
    unanswered_because: str | None = None


class AttackOrigin(StrEnum):
    """Who wrote a prompt of an attack."""

    HUMAN = "human"
    MODEL = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackReply:
    """The policy's reply to a prompt of an attack, in the journal of an attack."""

    row_id: str
    prompt: Conversation
    completion: Reply
    thinking: str | None = None
    finish: str
    seed: int
    outcome: Outcome
    defects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackReferences:
    """The assistant's replies to the same prompt, in the journal of an attack; those that failed are left out."""

    row_id: str
    completions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackScore:
    """The score of such a reply, in the journal of an attack."""

    row_id: str
    score: float | None
    own: float | None = None
    """The preference model's score of the reply by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackRow:
    """attack-NAME: a human prompt (round 0) or what the writer wrote, with the policy's reply where it was asked."""

    round: int
    row_id: str
    origin: AttackOrigin
    request: int | None = None
    """The number of the request in its round."""
    position: int | None = None
    """The place among the items of the request."""
    prompt: Conversation
    examples: tuple[str, ...] = ()
    """The row ids of the prompts that the request showed."""
    varied_from: tuple[str, ...] = ()
    """Those of them that the policy had failed; empty where the request was to find something new."""
    generation: int = 0
    """How many variations lead from a human prompt, or from a new find, to this prompt."""
    completion: Reply | None = None
    thinking: str | None = None
    finish: str | None = None
    seed: int | None = None
    """The seed of the reply."""
    score: float | None = None
    own_score: float | None = None
    """The preference model's score of the reply by itself; `score` is relative to the assistant's replies."""
    fails: bool | None = None
    """Whether the reply fails by its score; None without a score."""
    labels: tuple[str, ...] = ()
    """The grader's labels of the reply; they select nothing."""
    group: str | None = None
    """The grader's topic of the prompt."""
    outcome: Outcome
    """Of the reply; of the prompt where it broke a rule."""
    defects: tuple[str, ...] = ()


class GradedReply(OfKind, Protocol):
    """A reply to a held-out prompt with the grader's labels: a row of 09-measure, or of snapshots."""

    @property
    def row_id(self) -> str:
        """The row id of the prompt."""
        ...

    @property
    def group(self) -> str | None:
        """The topic of the prompt."""
        ...

    @property
    def completion(self) -> str:
        """The reply."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The grader's labels."""
        ...

    @property
    def finish(self) -> str:
        """Why the reply ended."""
        ...
