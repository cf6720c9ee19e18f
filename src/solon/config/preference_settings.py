"""The settings of the preference model, stage 07."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from solon.config.settings import Positive, Settings, TrainingSettings


class LabelsUsed(StrEnum):
    """How the preference model takes AI labels."""

    SOFT = "soft"
    """As probabilities, the paper's choice (section 4.3)."""
    HARD = "hard"
    """The preferred reply counts as certainly better; a label of one half stays one."""


class Balance(StrEnum):
    """What is made equal between human comparisons and AI labels (`solon.feedback.source_balance`)."""

    OFF = "off"
    """Nothing: a comparison weighs the same however many there are of its source."""
    WEIGHT = "weight"
    """The sum of the weights."""
    PULL = "pull"
    """The sum of weight times the label's distance from one half, which is how strongly a source pulls at first."""


class PairLayout(StrEnum):
    """How the two replies of a pair go through the preference model in training."""

    SEPARATE = "separate"
    """Each is a row with its prompt."""
    SHARED_PREFIX = "shared_prefix"
    """Both are one row with their prompt, which is read once (prefix sharing). Scores are the same up to rounding."""


class PreferenceSettings(Settings):
    """The preference model."""

    human_helpfulness: str | None = "testbed:helpfulness"
    """Human helpfulness comparisons: a file or `testbed:helpfulness`; null for none."""
    human_harmlessness: str | None = None
    """Human harmlessness comparisons, likewise; null for none, as in the paper's method."""
    limit_human: Positive | None = None
    """Most comparisons of each of the two; all when null."""
    columns: dict[str, str] | None = None
    """The names that these files use for `prompt`, `chosen` and `rejected`, e.g. {chosen: good}."""
    human_weight: Annotated[float, Field(ge=0)] = 1.0
    """The weight of a human comparison among the pairs of a batch; an AI label has weight 1. With `balance`, all human
    comparisons against all labels: 1 for as much, 0.5 for half."""
    human_certainty: Annotated[float, Field(gt=0.5, le=1)] = 1.0
    """P(people's choice is better): 1 takes it as certain, 0.6 is as sure as a label at the paper's clamp."""
    balance: Balance = Balance.OFF
    """What is made equal between human comparisons and AI labels before `human_weight`."""
    labels: LabelsUsed = LabelsUsed.SOFT
    """Soft or hard labels."""
    least_margin: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """AI labels nearer to one half than this are left out; 0 leaves out none. Clamped labels need less than the
    clamp's distance from one half."""
    axis: str | None = None
    """Learn only from the labels of this axis of `feedback.axes`; from the label of the pair when null."""
    pairs: PairLayout = PairLayout.SEPARATE
    """Shared prefixes save time where prompts are as long as replies, and models wide. Refused for models that cannot
    read such rows."""
    training: TrainingSettings = TrainingSettings()
