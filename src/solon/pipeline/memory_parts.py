"""The memory of one model that is asked or trained, worked out from its shape. Pure arithmetic; nothing is measured.

Assumptions, in bytes:

- A weight that learns is float32: 4, with a gradient of 4 and Adam's two moments of 4 each (Kingma and Ba 2015).
- A weight that is only read has 4 in float32. In bfloat16 the matrices of the layers have 2, and embeddings, norms and
  heads 4, as `solon.model_folders.mixed_precision` stores them. A model that is asked in bfloat16 has 2 throughout.
- An adapter of rank r has r (rows + columns) weights for each matrix; the rest of the model is read.
- A forward pass for training keeps 8 H + 2 K + 4 F numbers of each token in each layer (H hidden, K keys, F
  feed-forward width): inputs of norms and matrices, queries, keys, values, and the products of the feed-forward layer.
  An adapter adds the inputs of its matrices' second factors, which are small. Attention keeps no matrix of tokens by
  tokens. In bfloat16 these numbers have 2 bytes, and 4 H more of 4 bytes in place of 2 H of them: the sums between
  layers and the norms stay float32, and the inputs of matrices are cast. The matrices that learn are kept a second
  time, cast. With recomputed activations a layer keeps its H inputs in float32, and one layer at a time has the rest.
- Logits and what their loss keeps are three float32 numbers for each token and word of the vocabulary; every token of a
  micro-batch counts.
- A row that is asked has a cache of keys and values, 2 L K numbers a token, and four float32 copies of its logits.

What is left out: the allocator's reserve and fragments, the libraries themselves (about 0.5 GB on a GPU), and short
buffers. So `least`, weights and optimiser state, is a lower bound, and `total` is an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from solon.config.settings import Activations, LoraSettings, Precision
from solon.model_folders.model_shape import ModelShape

FULL, HALF = 4, 2
"""Bytes of a number in float32 and in bfloat16."""
LEARNT = 3 * FULL
"""Bytes that a learning weight needs on top of itself: gradient and two moments."""
_LOGITS_TRAINED, _LOGITS_ASKED = 3, 4
_PROMPT = 512
"""Tokens of a prompt in a cache, where lengths are not known."""


@dataclass(frozen=True, slots=True)
class MemoryParts:
    """Bytes of a model's memory, by what they hold."""

    weights: int
    optimiser: int = 0
    """Gradients and moments."""
    activations: int = 0
    """What a backward pass needs, logits included."""
    cache: int = 0
    """Keys, values and logits of rows that are asked."""

    @property
    def least(self) -> int:
        """What is always there."""
        return self.weights + self.optimiser

    @property
    def total(self) -> int:
        """Everything."""
        return self.least + self.activations + self.cache

    def __add__(self, other: MemoryParts) -> MemoryParts:
        """Both at the same time."""
        return MemoryParts(
            self.weights + other.weights,
            self.optimiser + other.optimiser,
            self.activations + other.activations,
            self.cache + other.cache,
        )

    def in_shards(self, count: int) -> MemoryParts:
        """The part of one of `count` GPUs that share weights and optimiser state, but no activations."""
        return replace(self, weights=-(-self.weights // count), optimiser=-(-self.optimiser // count))


NOTHING = MemoryParts(0)


@dataclass(frozen=True, slots=True)
class TrainedHow:
    """How a model is trained, as far as memory goes."""

    micro_batch_tokens: int
    lora: LoraSettings | None = None
    precision: Precision = Precision.FLOAT32
    activations: Activations = Activations.KEPT


def read_only(shape: ModelShape, precision: Precision = Precision.FLOAT32) -> MemoryParts:
    """A model beside the one that learns, such as a reference or a preference model that scores."""
    return MemoryParts(_stored(shape, precision))


def asked(shape: ModelShape, width: int, rows: int, tokens: int) -> MemoryParts:
    """A model that answers `rows` prompts at once with up to `tokens` tokens each, in numbers of `width` bytes."""
    cached = rows * (_PROMPT + tokens) * shape.column * width
    return MemoryParts(shape.parameters * width, cache=cached + rows * shape.vocabulary * FULL * _LOGITS_ASKED)


def trained(shape: ModelShape, how: TrainedHow, *, logits: bool = True) -> MemoryParts:
    """A model in training; a classifier has no `logits`."""
    adapter = 0 if how.lora is None else how.lora.rank * shape.sides
    learning = shape.parameters if how.lora is None else adapter
    weights = _stored(shape, how.precision if how.lora is not None else Precision.FLOAT32) + adapter * FULL
    return MemoryParts(weights, learning * LEARNT, _activations(shape, how, logits))


def _stored(shape: ModelShape, precision: Precision) -> int:
    """Bytes of weights that do not learn."""
    if precision is Precision.FLOAT32:
        return shape.parameters * FULL
    return shape.matrices * HALF + (shape.parameters - shape.matrices) * FULL


def _activations(shape: ModelShape, how: TrainedHow, logits: bool) -> int:
    layer = (8 * shape.hidden + 2 * shape.keys + 4 * shape.inner) * FULL
    if how.precision is Precision.BFLOAT16:
        layer = 4 * shape.hidden * FULL + (6 * shape.hidden + 2 * shape.keys + 4 * shape.inner) * HALF
    per_token = layer * shape.layers
    casts = shape.matrices * HALF if how.precision is Precision.BFLOAT16 and how.lora is None else 0
    if how.activations is Activations.RECOMPUTED:
        per_token = layer + shape.hidden * FULL * shape.layers
        casts //= max(1, shape.layers)
    if logits:
        per_token += shape.vocabulary * FULL * _LOGITS_TRAINED
    return how.micro_batch_tokens * per_token + casts


def in_words(shape: ModelShape, how: TrainedHow, needed: MemoryParts) -> str:
    """`7.6 B in bfloat16 with LoRA rank 16 needs about 24 GB`."""
    learning = f"with LoRA rank {how.lora.rank}" if how.lora is not None else "with all weights learning"
    return f"{billions(shape.parameters)} in {how.precision.value} {learning} needs about {gigabytes(needed.total)}"


def largest(of: Sequence[MemoryParts]) -> MemoryParts:
    """The one that needs most."""
    return max(of, key=lambda each: each.total, default=NOTHING)


def billions(count: int) -> str:
    """A number of parameters for a person: `7.6 B`, `494 M`."""
    return f"{count / 1e9:.1f} B" if count >= 1e9 else f"{max(1, round(count / 1e6))} M"


def gigabytes(count: int) -> str:
    """Bytes for a person: `2.7 GB`, or below a tenth of that `34 MB`."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{max(1, round(count / 1e6))} MB"
