"""The settings of reinforcement learning from AI feedback, stage 08.

Defaults follow Bai et al. 2022 and the implementation details of Huang et al. 2024; the built-in overlay `bai22` has
the published values.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from solon.config.addresses import address_fault, is_address
from solon.config.settings import (
    Activations,
    Count,
    LoraSettings,
    Positive,
    Precision,
    Rate,
    SamplingParams,
    Settings,
    Share,
    TrainingSettings,
)


class Algorithm(StrEnum):
    """How the policy learns from preferences."""

    PPO = "ppo"
    """Proximal policy optimisation with a value function (paper, section 4.1)."""
    RLOO = "rloo"
    """The same rollouts; a reply's baseline is the mean of the others to its prompt (Ahmadian et al. 2024)."""
    DPO = "dpo"
    """No rollouts and no preference model: the labelled pairs themselves (Rafailov et al. 2023), with soft labels."""


class KlControl(StrEnum):
    """How the coefficient of the KL penalty changes."""

    FIXED = "fixed"
    """It stays `kl_coef`."""
    ADAPTIVE = "adaptive"
    """It rises while the KL is above `adaptive_kl_target` and falls while it is below (Ziegler et al. 2019)."""


class Aggregation(StrEnum):
    """What the policy's loss is a mean over."""

    TOKENS = "tokens"
    """All response tokens of the minibatch."""
    REPLIES = "replies"
    """The replies, each with the mean of its tokens: a long one has the weight of a short one."""


class Kept(StrEnum):
    """Which policy a run ends with."""

    LAST = "last"
    """The policy of the last step."""
    BEST = "best"
    """The policy after its first update with the highest score less `kl_coef` times the KL. The held-out score counts
    when there is one."""


class Tracker(StrEnum):
    """Where metrics are sent while the policy learns, through accelerate; each needs the extra of its name."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    TRACKIO = "trackio"


class NetworkSharing(StrEnum):
    """How the networks of reinforcement learning are held in memory."""

    SEPARATE = "separate"
    """Each network has its own weights. With LoRA the reference is the policy without its adapter."""
    SHARED = "shared"
    """One frozen backbone, with adapters for policy, reference, value function and preference model. SL-CAI and the
    preference model must be trained with LoRA from one model. The policy continues SL-CAI's adapter."""


class ValueFunction(StrEnum):
    """Where the value function of PPO gets its hidden states from."""

    SEPARATE = "separate"
    """A network of its own, which starts as the preference model (paper, section 4.1)."""
    POLICY_BACKBONE = "policy_backbone"
    """The policy: a linear value head on its last hidden states, which starts at zero. Both learn in one backward pass,
    so that a step reads and learns a third less."""


class StopSettings(Settings):
    """When a run ends before its last step. A rule is off when null. The model is published with the reason."""

    kl: Rate | None = 100.0
    """Ends the run when the KL to SL-CAI exceeds this many nats per reply."""
    entropy: Share | None = 0.05
    """Ends the run when the entropy falls below this share of the first step's."""
    opening: Share | None = None
    """Ends the run when more than this share of replies opens with the same five words."""
    held_out: Annotated[int, Field(ge=2)] | None = 8
    """Ends the run when the score rises while the held-out score falls, over two windows of this many steps. One step
    has no spread, so that nothing would be significant."""
    patience: Positive = 3
    """For how many steps in a row one of the first three rules must hold."""


class DpoSettings(Settings):
    """Direct preference optimisation."""

    beta: Rate = 0.1
    """The KL coefficient of the implied reward. A larger one keeps the policy nearer to SL-CAI."""
    human_weight: Annotated[float, Field(ge=0)] = 0.0
    """The weight of a human comparison (`preference.human_helpfulness`); an AI label has weight 1. 0 for none."""
    training: TrainingSettings = TrainingSettings(learning_rate=1e-4)
    """Its adapter is `rl.lora` when it names none. The rate fits the bundled models: with twice the rate, or more
    epochs, harmless prompts are refused as well (docs/log.md)."""


class ReinforcementSettings(Settings):
    """PPO, RLOO or DPO. Each algorithm ignores the settings that it does not use."""

    algorithm: Algorithm = Algorithm.PPO
    """The algorithm."""
    steps: Positive = 40
    """Rollouts, each followed by its updates."""
    prompts_per_step: Positive = 64
    """Prompts of one rollout."""
    samples_per_prompt: Positive = 1
    """Replies to each prompt of a step; RLOO needs two or more."""
    red_team_share: Share = 0.5
    """The share of red-team prompts; the others are helpfulness prompts (paper, section 4.2)."""
    sampling: SamplingParams = SamplingParams()
    epochs: Positive = 2
    """Passes over each rollout."""
    minibatches: Positive = 4
    """Updates in each pass."""
    learning_rate: Rate = 1e-4
    """The learning rate of the policy."""
    value_learning_rate: Rate = 3e-4
    """The learning rate of the value function."""
    value_function: ValueFunction = ValueFunction.SEPARATE
    """A network for the value function, or a head on the policy's backbone."""
    value_coef: Annotated[float, Field(ge=0)] = 0.1
    """With `value_function: policy_backbone` the weight of the value loss in what the policy's backbone learns. With 0
    the backbone learns from the policy's loss alone. The head learns at `value_learning_rate` in any case."""
    warmup_steps: Count = 0
    """Steps in which a learning rate rises, counted from the first step in which its network learns."""
    value_warmup_steps: Count = 3
    """First steps in which only the value function learns, or only its head where the policy has one. RLOO has no value
    function and learns from the first step on."""
    kl_coef: Annotated[float, Field(ge=0)] = 0.05
    """The coefficient of the KL penalty to SL-CAI."""
    kl_control: KlControl = KlControl.FIXED
    """A fixed or an adaptive coefficient."""
    adaptive_kl_target: Rate = 6.0
    """The KL, in nats per reply, that an adaptive coefficient aims at."""
    adaptive_kl_horizon: Positive = 10_000
    """Replies in which an adaptive coefficient changes by a factor of about 1.2 at most."""
    target_kl: Rate | None = 0.15
    """Updates on a rollout end when the policy is this many nats per token away from the one that sampled it."""
    clip_ratio: Rate = 0.2
    """The clip range of PPO's probability ratio."""
    dual_clip: Annotated[float, Field(gt=1)] | None = None
    """Bounds the loss of a bad token that has become more probable, as a multiple of its advantage (usually 3)."""
    clip_value: Rate | None = 0.2
    """The clip range of the value function's change; null for none."""
    clip_score: Rate | None = 10.0
    """Centred scores beyond plus or minus this are cut to it; null for none."""
    max_grad_norm: Rate = 1.0
    """Gradients with a larger norm are scaled down to it."""
    gamma: Share = 1.0
    """The discount of later rewards."""
    gae_lambda: Share = 0.95
    """Lambda of generalised advantage estimation."""
    gae_lambda_value: Share | None = None
    """Lambda of the returns that the value function learns; `gae_lambda` when null."""
    loss_aggregation: Aggregation = Aggregation.TOKENS
    """The mean of the policy's loss."""
    missing_eos_penalty: Annotated[float, Field(ge=0)] = 1.0
    """Subtracted from the score of a reply that reached its token limit."""
    micro_batch_tokens: Positive = 16384
    """Padded tokens in one forward and backward pass."""
    lora: LoraSettings | None = None
    """Train with LoRA; all weights when null."""
    precision: Precision = Precision.FLOAT32
    """The arithmetic of all networks, while they sample, score, measure and learn."""
    activations: Activations = Activations.KEPT
    """Whether gradient checkpointing saves memory for a third more time."""
    networks: NetworkSharing = NetworkSharing.SEPARATE
    """Whether the networks share a backbone."""
    checkpoint_every: Positive = 10
    """Steps between checkpoints."""
    stop: StopSettings = StopSettings()
    scorer: str | None = None
    """Scores replies instead of the run's own preference model: the folder of another one, or the address of a server
    (`http://127.0.0.1:8000`, see `solon serve-pm`). The value function still starts from the run's own model."""
    held_out_scorer: str | None = None
    """A preference model that the policy does not learn from. Its scores of the same replies show over-optimisation."""
    held_out_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Trains such a model in the run, on the labelled pairs of this share of the prompts. The other preference model
    does not learn from these pairs. Null trains none."""
    snapshots: Positive | None = None
    """Steps between policies that are kept as model folders, for `solon snapshots`. The last policy is kept as well.
    Null keeps none."""
    keep: Kept = Kept.LAST
    """The policy that the run ends with."""
    samples_every: Positive = 10
    """Steps between the steps with replies in `samples.jsonl`. The first and the last step always have some."""
    samples: Count = 8
    """Replies kept of such a step."""
    trackers: tuple[Tracker, ...] = ()
    """Where metrics are sent."""
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
