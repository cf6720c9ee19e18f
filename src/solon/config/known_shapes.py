"""The shapes of some models of the hub, so that a run is planned before anything is fetched.

The numbers are those of the models' published `config.json`. A model that is here in full is read instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dimensions:
    """A decoder with gated feed-forward layers: Llama and Qwen."""

    layers: int
    hidden: int
    inner: int
    """The width of the feed-forward layers."""
    heads: int
    key_heads: int
    vocabulary: int
    tied: bool = False
    """Whether the head is the embeddings."""
    biased: bool = False
    """Whether queries, keys and values have biases."""

    @property
    def keys(self) -> int:
        """The width of keys, and of values."""
        return self.key_heads * (self.hidden // self.heads)

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and shape of every weight."""
        yield "model.embed_tokens.weight", (self.vocabulary, self.hidden)
        if not self.tied:
            yield "lm_head.weight", (self.vocabulary, self.hidden)
        yield "model.norm.weight", (self.hidden,)
        for number in range(self.layers):
            layer = f"model.layers.{number}"
            for name, width in (("q", self.hidden), ("k", self.keys), ("v", self.keys)):
                yield f"{layer}.self_attn.{name}_proj.weight", (width, self.hidden)
                if self.biased:
                    yield f"{layer}.self_attn.{name}_proj.bias", (width,)
            yield f"{layer}.self_attn.o_proj.weight", (self.hidden, self.hidden)
            for name in ("gate", "up"):
                yield f"{layer}.mlp.{name}_proj.weight", (self.inner, self.hidden)
            yield f"{layer}.mlp.down_proj.weight", (self.hidden, self.inner)
            for name in ("input", "post_attention"):
                yield f"{layer}.{name}_layernorm.weight", (self.hidden,)


_QWEN_HALF = Dimensions(24, 896, 4864, 14, 2, 151936, tied=True, biased=True)
_QWEN_ONE_AND_A_HALF = Dimensions(28, 1536, 8960, 12, 2, 151936, tied=True, biased=True)
_QWEN_SEVEN = Dimensions(28, 3584, 18944, 28, 4, 152064, biased=True)
_QWEN_SEVENTY_TWO = Dimensions(80, 8192, 29568, 64, 8, 152064, biased=True)
_LLAMA_EIGHT = Dimensions(32, 4096, 14336, 32, 8, 128256)
_LLAMA_SEVENTY = Dimensions(80, 8192, 28672, 64, 8, 128256)

KNOWN_SHAPES: Mapping[str, Dimensions] = {
    "Qwen/Qwen2.5-0.5B": _QWEN_HALF,
    "Qwen/Qwen2.5-0.5B-Instruct": _QWEN_HALF,
    "Qwen/Qwen2.5-1.5B": _QWEN_ONE_AND_A_HALF,
    "Qwen/Qwen2.5-1.5B-Instruct": _QWEN_ONE_AND_A_HALF,
    "Qwen/Qwen2.5-7B": _QWEN_SEVEN,
    "Qwen/Qwen2.5-7B-Instruct": _QWEN_SEVEN,
    "Qwen/Qwen2.5-72B-Instruct": _QWEN_SEVENTY_TWO,
    "meta-llama/Llama-3.1-8B": _LLAMA_EIGHT,
    "meta-llama/Llama-3.1-8B-Instruct": _LLAMA_EIGHT,
    "meta-llama/Llama-3.3-70B-Instruct": _LLAMA_SEVENTY,
}
