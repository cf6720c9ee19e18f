"""The most tokens of a row that a model reads, by its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CHANGING = "longrope"
"""The type of rotary positions whose frequencies change at a length inside the window."""


def window_in(config: Any) -> int | None:
    """The most tokens of a row that a text model reads; None where its configuration does not say.

    A model with LongRoPE has two sets of rotary frequencies, and transformers chooses by the longest row of a pass. A
    row's numbers would then depend on its neighbours, so longer rows than those of the first set are not read.
    """
    limits = [limit for limit in (positions_of(config), first_frequencies(config)) if limit]
    return min(limits) if limits else None


def positions_of(config: Any) -> int | None:
    """The positions that the model has; None where its configuration does not say."""
    found: int | None = getattr(config, "max_position_embeddings", None)
    return found


def first_frequencies(config: Any) -> int | None:
    """The most tokens that a model with LongRoPE reads with its first set of frequencies; None for other models.

    "dynamic" frequencies change only beyond the model's positions, so rows within them are read alike.
    """
    given = getattr(config, "rope_parameters", None) or {}
    parts = [
        given,
        *(part for part in given.values() if isinstance(part, Mapping)),
    ]  # some models have one a layer type
    ends = [part.get("original_max_position_embeddings") for part in parts if part.get("rope_type") == _CHANGING]
    return min((end for end in ends if end), default=None)
