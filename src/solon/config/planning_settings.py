"""What a dry run assumes about models and machines that are not here. Nothing in these settings changes a row of a run.

All figures are assumptions of whoever writes the recipe: sizes of models, a GPU's data sheet, and the shares of its
peak that are reached. Measured figures replace them: `planning.speeds`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from solon.config.settings import Positive, Rate, Settings, Share


class Layout(StrEnum):
    """How several GPUs hold what they train together."""

    WHOLE = "whole"
    """Each GPU has all weights."""
    SHARDS = "shards"
    """Each GPU has a part of weights, gradients and optimiser state (FSDP)."""


class SpeedSettings(Settings):
    """Tokens a second of one model, as it is asked in batches."""

    reading: Rate
    """Prompt tokens a second."""
    writing: Rate
    """Tokens a second that are written, over all rows of a batch."""


class GpuSettings(Settings):
    """The GPUs that a run is planned for; figures of one of them, by default those of an A100's data sheet."""

    name: str = "GPU"
    """What it is called in messages."""
    memory_gb: Rate = 80
    """Memory in units of 10^9 bytes."""
    tflops: Rate = 312
    """Peak of dense products in the recipe's number format, in 10^12 operations a second."""
    bandwidth_gb: Rate = 2039
    """Memory bandwidth in 10^9 bytes a second."""
    count: Positive = 1
    """GPUs that train together. One of them asks models."""
    layout: Layout = Layout.WHOLE
    """How they hold the weights."""
    price_per_hour: Annotated[float, Field(ge=0)] = 0.0
    """The price of one GPU for an hour, in the currency of the prices of servers."""


class PlanningSettings(Settings):
    """What `--dry-run` assumes where a model is not here: not in the cache of the hub, or behind a silent server."""

    red_team: Positive | None = None
    """Red-team prompts to plan for; those of the source when null."""
    helpful: Positive | None = None
    """Helpfulness prompts to plan for; those of the source when null."""
    characters_per_token: Rate = 4.0
    """Of English text."""
    answer_share: Share = 0.5
    """How long answers are, as a share of their limits."""
    sizes: dict[str, Rate] = Field(default_factory=dict)
    """Parameters of models whose shape is not known, by the name in `models`: {"openai:NAME@URL": 70e9}."""
    speeds: dict[str, SpeedSettings] = Field(default_factory=dict)
    """Speeds of models, by the name in `models`. Without them they are worked out from `gpu`."""
    gpu: GpuSettings | None = None
    """The GPUs to plan for. Null: no time is told for models that are not here."""
    reading_share: Share = 0.3
    """The share of a GPU's peak that is reached when prompts are read and models are trained."""
    writing_share: Share = 0.5
    """The share of a GPU's bandwidth that is reached when tokens are written."""
    step_seconds: Rate = 0.03
    """Seconds that a step of writing takes at least; one token for every row of a batch."""
