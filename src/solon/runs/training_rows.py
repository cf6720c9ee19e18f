"""The rows about training: the examples that models learn from, the metrics of every step, and the policy's samples."""

from __future__ import annotations

from dataclasses import dataclass

from solon.conversation import Conversation
from solon.runs.records import Reply
from solon.runs.rows import PromptKind

EXAMPLES = "examples.parquet"
"""What a model was trained on, next to the metrics of its steps: a row for each example."""
SAMPLES = "samples.jsonl"
"""Replies of the policy during reinforcement learning, next to the metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SftExampleRow:
    """04-sl-cai, examples.parquet: a training example of SL-CAI, or one held out for the evaluation loss.

    `stage` and `row_id`, with the `step` of a revision or the `sample` of a reply, identify the row that the example
    comes from; `tokens` counts prompt and completion.
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
class PreferenceExampleRow:
    """07-preference-model, examples.parquet: a training example of the preference model, or a held-out one.

    `source` says who compared. An AI label has its `pair` in the table of labels and its principle; a human comparison
    has the `line` of its file. `tokens` counts both dialogues.
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
    """04-sl-cai: one step of supervised training; the held-out loss is computed after each epoch and the last step."""

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
    """07-preference-model: one step; `accuracy` is the share of decided pairs that the model orders as labelled."""

    accuracy: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoStepRow(PreferenceStepRow):
    """08-rl-cai by DPO: one step, with the mean margin of the implied reward."""

    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RlStepRow:
    """08-rl-cai by PPO or RLOO: one step of reinforcement learning; a figure that was not computed is None."""

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
    """08-rl-cai, samples.jsonl: one reply of the policy during training, with its scores."""

    step: int
    row_id: str
    kind: PromptKind
    prompt: Conversation
    reply: str
    finished: bool
    score: float
    held_out_score: float | None = None
    kl: float
