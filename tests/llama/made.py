"""Llamas with random weights, none of them alike in what their layers measure."""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

SHAPES: dict[str, dict[str, Any]] = {
    "grouped": {"num_attention_heads": 4, "num_key_value_heads": 2},
    "one key head": {"num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 8},
    "each its own": {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 6, "num_hidden_layers": 1},
    "long texts": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    },
}


def llama(shape: str = "grouped", dtype: torch.dtype = torch.float64, **more: Any) -> LlamaForCausalLM:
    """A Llama of some forty thousand weights, its gains not all one; in float64 so that rounding hides nothing."""
    sizes = {
        "vocab_size": 60,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "initializer_range": 0.2,
    }
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = LlamaForCausalLM(LlamaConfig(**{**sizes, "max_position_embeddings": 64, **SHAPES[shape], **more}))
        for name, weight in model.named_parameters():
            if "norm" in name:
                torch.nn.init.uniform_(weight, 0.5, 1.5)
    return model.to(dtype).eval()
