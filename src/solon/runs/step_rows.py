"""The rows of training metrics: one for each step of an optimiser (`solon.runs.rows` has those of the other tables)."""

from __future__ import annotations

from dataclasses import dataclass


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
