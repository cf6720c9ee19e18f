"""The models that all peers load: local folders of safetensors, without any code of the folder's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer


def tokenizer_in(folder: str | Path, padding_side: str = "right") -> Any:
    """The folder's tokenizer."""
    return AutoTokenizer.from_pretrained(
        folder, padding_side=padding_side, local_files_only=True, trust_remote_code=False
    )


def language_model_in(folder: str | Path, dtype: str = "float32") -> Any:
    """The folder's weights as a causal language model."""
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), local_files_only=True, use_safetensors=True, trust_remote_code=False
    )


def classifier_in(folder: str | Path, dtype: str = "float32") -> Any:
    """The folder's weights as a preference model."""
    return AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=getattr(torch, dtype), local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
