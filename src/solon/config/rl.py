"""The settings of reinforcement learning from AI feedback, stage 08: which algorithm, and what keeps it in hand.

Defaults follow DESIGN's list of details (Bai et al. 2022, Huang et al. 2024); the built-in overlay `bai22` lays the
published values over them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from solon.config.addresses import address_fault, is_address
from solon.config.settings import Count, LoraSettings, Positive, Rate, SamplingParams, Settings, Share, TrainingSettings


class Algorithm(StrEnum):
    """How the policy learns from preferences."""

    PPO = "ppo"
    """Proximal policy optimisation with a value function (paper, section 4.1)."""
    RLOO = "rloo"
    """The same rollouts; a reply's baseline is the mean of the others to its prompt (Ahmadian et al. 2024)."""
    DPO = "dpo"
    """No rollouts and no preference model: the labelled pairs themselves (Rafailov et al. 2023), with soft labels."""


class KlControl(StrEnum):
    """What becomes of the KL penalty's coefficient."""

    FIXED = "fixed"
    ADAPTIVE = "adaptive"
    """Raised while the KL is above `kl_target`, lowered while it is below (Ziegler et al. 2019, section 2.2)."""


class Aggregation(StrEnum):
    """What the policy's loss is a mean over."""

    TOKENS = "tokens"
    """All response tokens of the minibatch."""
    REPLIES = "replies"
    """The replies, each with the mean of its own tokens: a long one weighs as much as a short one."""


class Kept(StrEnum):
    """Which policy a run ends with."""

    LAST = "last"
    BEST = "best"
    """Of the policies that replied after their first update, that of the highest score less `kl` times the KL; the
    held-out score where there is one."""


class Tracker(StrEnum):
    """Where metrics are sent while the policy learns, through accelerate; each needs the extra of its name."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    TRACKIO = "trackio"


class NetworkSharing(StrEnum):
    """How the networks of reinforcement learning are held in memory."""

    SEPARATE = "separate"
    """Each by itself; with an adapter the reference is the policy without it."""
    SHARED = "shared"
    """One frozen backbone, with adapters for policy, reference, value function and preference model. SL-CAI and the
    preference model must have been trained with LoRA from one model; the policy goes on with SL-CAI's adapter."""


class StopSettings(Settings):
    """When a run is ended before its last step; a rule is off when null. It is then published with the reason."""

    kl: Rate | None = 100.0
    """Nats per reply to SL-CAI, beyond which the policy counts as lost."""
    entropy: Share | None = 0.05
    """Share of the first step's entropy, below which the policy counts as collapsed."""
    opening: Share | None = None
    """Share of replies that open with the same five words, beyond which they count as boilerplate."""
    held_out: Positive | None = 8
    """Steps in each of two windows, over which the score rises while the held-out score falls."""
    patience: Positive = 3
    """Steps in a row for which one of the first three rules must hold."""


class DpoSettings(Settings):
    """Direct preference optimisation."""

    beta: Rate = 0.1
    """How dear it is to move away from SL-CAI: the KL coefficient of the reward that is implied."""
    human_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a human comparison (`preference.human_helpfulness`) where an AI label has weight 1; 0 for none."""
    training: TrainingSettings = TrainingSettings(learning_rate=1e-4)
    """Its adapter is `rl.lora` when it names none. Sized for the bundled models, as the rates below are: with twice
    the rate or more epochs harmless prompts, of which no pair speaks, are refused as well (docs/log.md)."""


class ReinforcementSettings(Settings):
    """PPO, RLOO or DPO; what one of them has no use for is not read by it."""

    algorithm: Algorithm = Algorithm.PPO
    steps: Positive = 40
    prompts_per_step: Positive = 64
    samples_per_prompt: Positive = 1
    """Replies to each prompt of a step; RLOO needs two or more."""
    red_team_share: Share = 0.5
    sampling: SamplingParams = SamplingParams()
    epochs: Positive = 2
    """Passes over each rollout."""
    minibatches: Positive = 4
    learning_rate: Rate = 1e-4
    value_learning_rate: Rate = 3e-4
    warmup_steps: Count = 0
    """Steps in which a learning rate rises, counted from the first one in which its network learns."""
    value_warmup_steps: Count = 3
    """First steps in which only the value function learns; RLOO, which has none, learns from the first step on."""
    kl_coef: Annotated[float, Field(ge=0)] = 0.05
    """Coefficient of the KL penalty to SL-CAI."""
    kl_control: KlControl = KlControl.FIXED
    adaptive_kl_target: Rate = 6.0
    """Nats per reply, where the coefficient is adaptive."""
    adaptive_kl_horizon: Positive = 10_000
    """Replies in which an adaptive coefficient changes by a factor of about 1.2 at most."""
    target_kl: Rate | None = 0.15
    """Nats per token between the policy and the one that sampled, beyond which a rollout has been used up."""
    clip_ratio: Rate = 0.2
    dual_clip: Annotated[float, Field(gt=1)] | None = None
    """Bound on what a bad token that has become likelier may cost, as a multiple of its advantage (usually 3)."""
    clip_value: Rate | None = 0.2
    clip_score: Rate | None = 10.0
    """Scores beyond plus or minus this count as this, once they are centred."""
    max_grad_norm: Rate = 1.0
    gamma: Share = 1.0
    gae_lambda: Share = 0.95
    """Lambda of generalised advantage estimation."""
    gae_lambda_value: Share | None = None
    """Lambda of the returns that the value function learns; `trace` when null."""
    loss_aggregation: Aggregation = Aggregation.TOKENS
    missing_eos_penalty: Annotated[float, Field(ge=0)] = 1.0
    """Taken from the score of a reply that reached its token limit."""
    micro_batch_tokens: Positive = 16384
    lora: LoraSettings | None = None
    networks: NetworkSharing = NetworkSharing.SEPARATE
    checkpoint_every: Positive = 10
    stop: StopSettings = StopSettings()
    scorer: str | None = None
    """Scores replies in place of the run's own preference model: the folder of another one, or the address of a server
    (`http://127.0.0.1:8000`, see `solon serve-pm`). The value function starts from the run's own all the same."""
    held_out_scorer: str | None = None
    """A preference model that the policy does not learn from, best trained on other comparisons: its scores of the
    same replies tell whether the reward still means what it should."""
    held_out_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Trains that model in the run: on the labelled pairs of this share of their prompts, which the preference model
    then does not learn from; null trains none."""
    snapshots: Positive | None = None
    """Steps between policies that are kept as model folders, to be measured by `solon snapshots`; the last is one too.
    Null keeps none."""
    keep: Kept = Kept.LAST
    samples_every: Positive = 10
    """Steps between those whose replies are kept in `samples.jsonl`; the first and the last are always."""
    samples: Count = 8
    """Replies kept of such a step."""
    trackers: tuple[Tracker, ...] = ()
    dpo: DpoSettings = DpoSettings()

    @field_validator("scorer")
    @classmethod
    def _no_secrets(cls, scorer: str | None) -> str | None:
        # A recipe is written into run directories and reports.
        if scorer is not None and is_address(scorer) and (fault := address_fault(scorer)):
            raise ValueError(fault)
        return scorer

    @model_validator(mode="after")
    def _one_held_out(self) -> ReinforcementSettings:
        if self.held_out_scorer is not None and self.held_out_share is not None:
            raise ValueError(
                "a held-out preference model is either given (held_out_scorer) or trained (held_out_share)"
            )
        return self
