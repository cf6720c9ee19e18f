"""The shape of a model: the numbers that its memory and its speed follow from, without loading it.

They are read off the names and shapes in the headers of its safetensors and off its configuration, or off a shape that
is known by name. Nothing is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.config.known_shapes import Dimensions
from solon.model_folders.folder_check import CONFIG, read_json, weight_files
from solon.model_folders.headers import shapes_of

_TABLES = ("embed", "wte", "wpe", "lm_head", "score", "output_projection")
"""In the names of embeddings and heads, which LoRA leaves alone and mixed precision keeps in float32."""
_PER_LAYER = 12
"""Weights of a layer in squares of the hidden width: four of attention, eight of the feed-forward layers."""
_WIDTH_OF_A_LAYER = 128
"""Hidden width over layers of a typical large model: 4,096 over 32, 8,192 over 64."""
_VOCABULARY = 128_000


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder's numbers of weights, and the widths of its layers."""

    parameters: int
    matrices: int
    """Weights in the linear layers of the backbone: adapted by LoRA, and in bfloat16 where mixed precision has it."""
    sides: int
    """Rows and columns of these matrices together: an adapter of rank r has r times as many weights."""
    layers: int
    hidden: int
    inner: int
    """The width of the feed-forward layers."""
    keys: int
    """The width of keys, and of values, in a layer."""
    vocabulary: int

    @classmethod
    def of(cls, config: Mapping[str, Any], tensors: Iterable[tuple[str, tuple[int, ...]]]) -> ModelShape:
        """The shape by a configuration and the names and shapes of all weights."""
        parameters = matrices = sides = 0
        for name, shape in tensors:
            parameters += math.prod(shape)
            if len(shape) > 1 and not any(word in name for word in _TABLES):
                matrices += math.prod(shape)
                sides += math.prod(shape[:-2]) * sum(shape[-2:])
        given = config.get("text_config") if isinstance(config.get("text_config"), Mapping) else config
        number = _Numbers(given or {})
        hidden = number("hidden_size", "n_embd", "d_model")
        heads = number("num_attention_heads", "n_head", "num_heads") or 1
        width = number("head_dim") or hidden // heads
        return cls(
            parameters=parameters,
            matrices=matrices,
            sides=sides,
            layers=number("num_hidden_layers", "n_layer", "num_layers"),
            hidden=hidden,
            inner=number("intermediate_size", "n_inner", "ffn_dim", "d_ff") or 4 * hidden,
            keys=width * (number("num_key_value_heads") or heads),
            vocabulary=number("vocab_size"),
        )

    @classmethod
    def known(cls, found: Dimensions) -> ModelShape:
        """The shape of a model that is known by name."""
        config = {
            "hidden_size": found.hidden,
            "num_attention_heads": found.heads,
            "num_key_value_heads": found.key_heads,
            "num_hidden_layers": found.layers,
            "intermediate_size": found.inner,
            "vocab_size": found.vocabulary,
        }
        return cls.of(config, found.tensors())

    @classmethod
    def typical(cls, parameters: float) -> ModelShape:
        """The shape that a model of so many parameters typically has: 12 L H^2 weights, with H = 128 L.

        A guess: no grouped keys, so its cache is an upper bound, and a vocabulary of 128,000.
        """
        layers = max(1, round((parameters / _PER_LAYER / _WIDTH_OF_A_LAYER**2) ** (1 / 3)))
        hidden = _WIDTH_OF_A_LAYER * layers
        return cls(
            parameters=round(parameters),
            matrices=round(parameters),
            sides=layers * (8 * hidden + 2 * 5 * hidden),
            layers=layers,
            hidden=hidden,
            inner=4 * hidden,
            keys=hidden,
            vocabulary=_VOCABULARY,
        )

    @property
    def column(self) -> int:
        """Numbers that one token of one row has in the cache of keys and values."""
        return 2 * self.layers * self.keys


def shape_in(folder: Path) -> ModelShape:
    """The shape of the model in a folder; raises ModelError for damaged files."""
    return ModelShape.of(read_json(folder / CONFIG), shapes_of(weight_files(folder)))


@dataclass(frozen=True, slots=True)
class _Numbers:
    config: Mapping[str, Any]

    def __call__(self, *names: str) -> int:
        """The first of these settings that is a whole number; 0 when there is none."""
        return next((value for name in names if type(value := self.config.get(name)) is int), 0)
