"""LoRA for the peers: of the kind that Solon trains, on every linear layer, with alpha twice the rank."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig, TaskType, get_peft_model


def adapter_of(rank: int, *, scores: bool = False) -> LoraConfig | None:
    """The adapter of a language model, or of a model that `scores`; None for rank 0, where all weights are trained."""
    if not rank:
        return None
    kind = TaskType.SEQ_CLS if scores else TaskType.CAUSAL_LM
    return LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type=kind)


def adapted(model: Any, rank: int, *, scores: bool = False) -> Any:
    """The model with such an adapter, or itself."""
    config = adapter_of(rank, scores=scores)
    return model if config is None else get_peft_model(model, config)
