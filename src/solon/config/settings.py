"""The base class of groups of settings, and the groups that several parts of a recipe share.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]


LEAST_LETTER_MASS = 0.01
"""The probability that both letters of a judge's answer must have together, where no recipe says otherwise."""
NO_NUMBER = "no_number"
"""The type of the error for a word in place of a number."""


class Settings(BaseModel):
    """A frozen group of settings, which refuses unknown keys and malformed numbers.

    A number must be written as a number: not as text or truth value, not infinite, and an integer without a fraction.
    """

    # A bad value may contain a password: pydantic does not show it, and our own errors remove passwords.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values, which are not validated; raises ValueError for a field that does not exist."""
        if unknown := [name for name in update or () if name not in type(self).model_fields]:
            raise ValueError(f"{type(self).__name__} has no field '{unknown[0]}'")
        return super().model_copy(update=update, deep=deep)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_words_for_numbers(cls, given: object, info: ValidationInfo) -> object:
        kinds = _kinds(cls.model_fields[str(info.field_name)].annotation)
        if not kinds & {int, float} or any(issubclass(kind, str) for kind in kinds):
            return given  # not a number, or a union with text, which pydantic checks
        for each in given.values() if isinstance(given, dict) else given if isinstance(given, list) else (given,):
            word = isinstance(each, str) or (isinstance(each, bool) and bool not in kinds)
            if word or (isinstance(each, float) and float not in kinds and each.is_integer()):
                what = "number" if float in kinds else "integer"
                raise PydanticCustomError(NO_NUMBER, "Input should be a valid {what}", {"what": what})
        return given


def _kinds(annotation: object) -> set[type]:
    """The classes in an annotation; for a mapping, those of its values."""
    inner = get_args(annotation)
    if inner:
        of_values = inner[1:] if get_origin(annotation) in (dict, Mapping) else inner
        return {kind for each in of_values for kind in _kinds(each)}
    return {annotation} if isinstance(annotation, type) else set()


class Schedule(StrEnum):
    """The learning rate after the warm-up."""

    CONSTANT = "constant"
    """It stays."""
    LINEAR = "linear"
    """It falls to zero in a straight line."""


class SamplingParams(Settings):
    """How texts are sampled."""

    max_tokens: Positive = 256
    """Most tokens of a text. A longer one is cut and gets the outcome `truncated`."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """The sampling temperature; 0 takes the most probable token."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Sample from the most probable tokens that together have this probability."""


class LoraSettings(Settings):
    """LoRA. Every linear layer of the backbone is adapted."""

    rank: Positive = 16
    """The rank of the adapter's matrices."""
    alpha: Rate = 32.0
    """The adapter's output is scaled by alpha / rank."""


class Precision(StrEnum):
    """The arithmetic of training. Weights that learn, gradients and optimiser state are float32 in either."""

    FLOAT32 = "float32"
    """Float32 throughout."""
    BFLOAT16 = "bfloat16"
    """Matrix products and attention of the layers in bfloat16, and weights that do not learn. Embeddings, norms, heads,
    softmax, log-probabilities and losses are float32."""


class Activations(StrEnum):
    """What a forward pass keeps for the backward pass."""

    KEPT = "kept"
    """All activations."""
    RECOMPUTED = "recomputed"
    """The inputs of the layers; the rest is computed again (gradient checkpointing, Chen et al. 2016)."""


class TrainingSettings(Settings):
    """Supervised training. Gradients are summed by token: the size of micro-batches moves results by rounding only."""

    learning_rate: Rate = 3e-4
    """The learning rate after the warm-up."""
    epochs: Rate = 1.0
    """Passes over the rows; may be a fraction."""
    batch_size: Positive = 32
    """Rows in one step."""
    micro_batch_tokens: Positive = 8192
    """Padded tokens in one forward and backward pass."""
    schedule: Schedule = Schedule.CONSTANT
    """How the learning rate changes."""
    warmup_ratio: Share = 0.05
    """The share of the steps in which the learning rate rises."""
    max_grad_norm: Rate = 1.0
    """Gradients with a larger norm are scaled down to it."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's weight decay."""
    lora: LoraSettings | None = None
    """Train with LoRA; all weights when null."""
    precision: Precision = Precision.FLOAT32
    """The arithmetic."""
    activations: Activations = Activations.KEPT
    """Whether gradient checkpointing saves memory for a third more time."""
    checkpoint_every: Positive = 50
    """Steps between checkpoints."""
    held_out: Share = 0.05
    """The share of the prompts that is kept for the evaluation loss."""
