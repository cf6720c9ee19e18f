"""The rows of every table: one frozen dataclass for each, whose fields are the columns, in their order.

Parquet schemas come from these classes (`solon.runs.records`), and whoever reads a table reads attributes. Columns
follow TRL's conversational format, so that other trainers read the tables as they are: `prompt` is a list of messages,
and a reply is a list of one message of the assistant, in Python a `Conversation` and a text.
"""

from __future__ import annotations

from collections import Counter
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
    """What a critic wrote about a reply, as the journal of 03 keeps it; without a critique every field is empty."""

    critique: str | None = None
    critique_thinking: str | None = None
    critique_finish: str | None = None
    critique_outcome: Outcome | None = None
    critique_defects: tuple[str, ...] = ()
    critique_seed: int | None = None
    critic: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionRow:
    """03-critique-revision: one step of a chain; `before` is the reply that the step began with."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class SftExampleRow:
    """04-sl-cai, examples.parquet: what SL-CAI was trained on, or held out for its evaluation.

    `stage` and `row_id`, with the `step` of a revision or the `sample` of a reply, name the row that the example is
    made of; `tokens` are all of its tokens, those of the prompt too.
    """

    row_id: str
    stage: str
    step: int | None
    sample: int | None
    principle_id: str | None
    prompt: Conversation
    completion: Reply
    weight: float
    held_out: bool
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow:
    """05-response-pairs: two replies to one prompt; `pair` counts the pairs of a prompt from 1."""

    row_id: str
    pair: int
    prompt: Conversation
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
    """What one judge said of a pair on one axis; an order that was not asked, or not answered, has no log-odds.

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
    """What was measured of a judge before it labelled, as the journal of 06 keeps it."""

    judge: Mapping[str, Any] | None = None

    def facts(self) -> dict[str, Any]:
        """As the stage's facts hold it."""
        return {} if self.judge is None else {"judge": dict(self.judge)}


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRow:
    """One judge's judgements of a pair, as the journal of 06 keeps them: one for each axis."""

    judgements: tuple[Judgement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """06-ai-feedback: a pair with its label; `judgements` is what every judge said on every axis."""

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
class PreferenceExampleRow:
    """07-preference-model, examples.parquet: what the preference model was trained on, or held out for evaluation.

    `source` says who compared. An AI label names its `pair` in the table of labels and the principles that it was
    judged by; a human comparison names the `line` of its file. `tokens` are those of both dialogues.
    """

    row_id: str
    source: str
    pair: int | None
    line: int | None
    principle_id: str | None
    prompt: Conversation
    chosen: Reply
    rejected: Reply
    p_chosen: float
    weight: float
    held_out: bool
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStepRow:
    """04-sl-cai: one step of supervised training; the held-out loss is taken after each epoch and the last step."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    gradient_norm: float
    rows: int
    tokens: int
    held_out_loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceStepRow(TrainingStepRow):
    """07-preference-model: one step; `accuracy` is the share of its decided pairs that were ordered as labelled."""

    accuracy: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoStepRow(PreferenceStepRow):
    """08-rl-cai by DPO: one step, with the mean margin of the implied reward."""

    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RlStepRow:
    """08-rl-cai by PPO or RLOO: one step of reinforcement learning; a figure that was not taken is None."""

    step: int
    score: float | None = None
    score_deviation: float | None = None
    score_red_team: float | None = None
    score_helpful: float | None = None
    held_out_score: float | None = None
    reward: float | None = None
    kl: float | None = None
    kl_k3: float | None = None
    kl_coefficient: float | None = None
    entropy: float | None = None
    length: float | None = None
    unfinished: float | None = None
    empty: float | None = None
    common_opening: float | None = None
    distinct_trigrams: float | None = None
    score_by_length: float | None = None
    explained_variance: float | None = None
    policy_loss: float | None = None
    value_loss: float | None = None
    clip_fraction: float | None = None
    first_ratio_error: float | None = None
    policy_gradient_norm: float | None = None
    value_gradient_norm: float | None = None
    replies: int | None = None
    policy_updates: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRow:
    """08-rl-cai, samples.jsonl: one reply of the policy while it learns, with what was made of it."""

    step: int
    row_id: str
    kind: PromptKind
    prompt: Conversation
    reply: str
    finished: bool
    score: float
    held_out_score: float | None = None
    kl: float


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
class RedTeamAnswer:
    """What a model wrote to one request for prompts, as the journal of red-team keeps it."""

    request: int
    examples: tuple[str, ...]
    seed: int
    text: str
    finish: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RedTeamRow:
    """red-team: one prompt that a model wrote; `examples` are the rows of the prompts that it was shown."""

    row_id: str
    request: int
    position: int
    prompt: Conversation
    examples: tuple[str, ...]
    finish: str
    seed: int
    outcome: Outcome
    defects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceAnswer:
    """What a model answered to a multiple-choice question, as the journal of an evaluation keeps it.

    `log_probs` holds for each rotation and each sample the log-probability of every letter, or None where it is not
    known; `scores` are those of a preference model, `reasoning` is what was written before each letter.
    """

    line: int
    correct: int
    rotations: tuple[int, ...]
    log_probs: tuple[tuple[tuple[float, ...] | None, ...], ...]
    reasoning: tuple[tuple[str, ...], ...] | None = None
    scores: tuple[float | None, ...] | None = None
    untold_because: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRow:
    """An evaluation of `solon eval`: an answered question with the options' probabilities and the credit it earns."""

    line: int
    correct: int
    probabilities: tuple[float, ...] | None
    credit: float | None
    rotations: tuple[int, ...]
    log_probs: tuple[tuple[tuple[float, ...] | None, ...], ...]
    reasoning: tuple[tuple[str, ...], ...] | None = None
    scores: tuple[float | None, ...] | None = None
    outcome: Outcome
    untold_because: str | None = None


class HasOutcome(Protocol):
    """A row that says what became of it."""

    @property
    def outcome(self) -> Outcome:
        """Whether it is fit for training."""
        ...


class OfKind(HasOutcome, Protocol):
    """A row about a prompt of some kind."""

    @property
    def kind(self) -> PromptKind:
        """What the prompt is for."""
        ...


class GradedReply(OfKind, Protocol):
    """A reply to a held-out prompt with the grader's labels: a row of 09-measure, or of snapshots."""

    @property
    def row_id(self) -> str:
        """The prompt's."""
        ...

    @property
    def group(self) -> str | None:
        """What the prompt is about."""
        ...

    @property
    def completion(self) -> str:
        """The reply."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """What the grader says of it."""
        ...

    @property
    def finish(self) -> str:
        """Why it ended."""
        ...


class Rows(Protocol[R]):
    """Something that holds rows of one type: the artefact of a stage, or files read from elsewhere."""

    def rows(self, row: type[R], /) -> list[R]:
        """All rows, in order."""
        ...


H = TypeVar("H", bound=HasOutcome)
K = TypeVar("K", bound=OfKind)


def good(rows: Iterable[H]) -> list[H]:
    """The rows that are `ok`."""
    return [row for row in rows if row.outcome is Outcome.OK]


def good_of(rows: Iterable[K], *kinds: PromptKind) -> list[K]:
    """The rows that are `ok`, of the given kinds."""
    return [row for row in rows if row.outcome is Outcome.OK and row.kind in kinds]


def comparable(rows: Iterable[LabelRow]) -> list[LabelRow]:
    """The labelled pairs that are `ok` and whose replies both have a text: an empty one is never learned from."""
    return [row for row in good(rows) if (row.chosen or "").strip() and (row.rejected or "").strip()]


def most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts that are not 0, the largest first."""
    return dict(
        sorted(((name, count) for name, count in counts.items() if count), key=lambda item: (-item[1], item[0]))
    )


def count_defects(defects: Iterable[tuple[str, ...]]) -> dict[str, int]:
    """How often each rule was met, most frequent first."""
    return most_frequent(Counter(name for each in defects for name in each))
