"""Refuses models that transformers loads as causal language models and that are none, or count positions otherwise."""

from __future__ import annotations

import json
import re
from typing import Any

from solon.errors import ModelError
from solon.model_folders.folder_check import CONFIG, ModelFolder

_OTHER_HEADS = re.compile(r"For(SequenceClassification|TokenClassification|QuestionAnswering|MultipleChoice)$")
_REMEDY = "Give a causal language model, such as Llama, Qwen, Mistral or GPT-NeoX"


def refuse_classifier(found: ModelFolder) -> None:
    """Raise ModelError for a folder whose configuration names only classes with another head than a language model's.

    With tied embeddings such a folder loads as a language model without a missing weight.
    """
    names = found.architectures
    if not names or not all(_OTHER_HEADS.search(name) for name in names):
        return
    scores = names[0].endswith("ForSequenceClassification")
    raise ModelError(
        f"this is a {'preference model or another classifier' if scores else 'model for another task'} ({names[0]}), "
        "and no language model",
        place=str(found.path / CONFIG),
        remedy="Give the folder of a language model, such as the one that it was trained from",
    )


def refuse_encoder(model: Any, place: str = "") -> None:
    """Raise ModelError for a model in which a token sees those that follow, or that does not count positions from 0.

    transformers accepts BERT and its relatives as language models, whatever `is_decoder` says, and has settings by
    which decoders see both ways. RoBERTa and its relatives count positions from their padding token on.
    """
    base = getattr(model, "get_base_model", lambda: model)()
    name = type(base).__name__
    if setting := _sees_both_ways(base):
        raise ModelError(
            f"a {name} with {setting} is an encoder: each token sees those that follow", place=place, remedy=_REMEDY
        )
    tables = (part for path, part in base.named_modules() if path.endswith("position_embeddings"))
    if any(getattr(table, "padding_idx", None) is not None for table in tables):
        raise ModelError(
            f"a {name} counts positions from its padding token on, and Solon counts them from 0",
            place=place,
            remedy=_REMEDY,
        )


def _sees_both_ways(model: Any) -> str | None:
    """The setting by which attention is not causal; None where it is."""
    config = model.config.get_text_config(decoder=True)
    if (value := getattr(config, "use_bidirectional_attention", None)) in (True, "all"):
        return f"use_bidirectional_attention={json.dumps(value)}"
    if getattr(config, "is_causal", None) is False:
        return "is_causal=false"
    # GPT-NeoX has the setting too, without a meaning; an encoder's layers are in a module of this name.
    if getattr(config, "is_decoder", None) is False and hasattr(model.base_model, "encoder"):
        return "is_decoder=false"
    return None
