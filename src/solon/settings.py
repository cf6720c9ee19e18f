"""What groups of settings are made of, and the groups that several parts of a recipe share.

A group is frozen and refuses keys that it does not know. Nothing here imports torch.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]


class Settings(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    # A faulty value may hold a password, so no error shows it but by ours, which leave passwords out.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Schedule(StrEnum):
    """Learning rate after the warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"


class Drawing(Settings):
    """How completions are drawn."""

    max_tokens: Positive = 256
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0


class Adapter(Settings):
    """LoRA; every linear layer of the backbone is adapted."""

    rank: Positive = 16
    alpha: Rate = 32.0


class Training(Settings):
    """One training run; batches count rows, and gradients are summed over micro-batches token-exactly."""

    learning_rate: Rate = 3e-4
    epochs: Rate = 1.0
    batch: Positive = 32
    micro_tokens: Positive = 8192
    """Padded tokens in one forward and backward pass."""
    schedule: Schedule = Schedule.CONSTANT
    warmup: Share = 0.05
    """Share of the steps in which the rate rises."""
    clip: Rate = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    adapter: Adapter | None = None
    """LoRA when given, else all weights."""
    checkpoint_every: Positive = 50
    """Steps between checkpoints."""
    held_out: Share = 0.05
    """Share of the prompts kept for the evaluation loss."""
