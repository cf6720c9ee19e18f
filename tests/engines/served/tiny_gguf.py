"""Writes a tiny model and its tokenizer as a GGUF file, as llama.cpp's own converter would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

_BLOCK = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_REST = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write_gguf(model: Any, tokenizer: Any, path: Path) -> None:
    """Write a Llama with a byte-level BPE tokenizer, in float32."""
    writer = gguf.GGUFWriter(path, "llama")
    config = model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, tokenizer, config.vocab_size)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, weight in model.state_dict().items():
        stem = name.removesuffix(".weight")
        if stem.startswith("model.layers."):
            layer, _, rest = stem.removeprefix("model.layers.").partition(".")
            kind = _BLOCK[rest]
            stem, weight = f"blk.{layer}.{kind}", _turned(weight, heads[kind]) if kind in heads else weight
        else:
            stem = _REST[stem]
        writer.add_tensor(f"{stem}.weight", weight.to(torch.float32).numpy().astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _turned(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """The rows in llama.cpp's order: it rotates neighbouring rows, and transformers the halves of a head."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns).contiguous()


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Any, size: int) -> None:
    written = json.loads(tokenizer.backend_tokenizer.to_str())
    special = {each["content"] for each in written["added_tokens"]}
    tokens = {number: token for token, number in tokenizer.get_vocab().items()}
    names = [tokens.get(number, f"[unused{number}]") for number in range(size)]
    types = [
        gguf.TokenType.CONTROL if name in special else gguf.TokenType.NORMAL if number in tokens
        else gguf.TokenType.UNUSED for number, name in enumerate(names)
    ]  # fmt: skip
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(names)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in written["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(not tokenizer.chat_template)  # a template writes all special tokens by itself
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
