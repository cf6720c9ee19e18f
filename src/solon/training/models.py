"""Loads models for training, adds adapters, and saves models that any program can read.

Weights that learn are float32 whatever the file holds, because updates of a millionth vanish in half precision, and so
are saved models. Models stay in evaluation mode during training, which turns dropout off. Only local folders with
safetensors are read (`solon.model_folders`). On saving, a LoRA adapter is merged, and its own files are saved as well.
"""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from solon.config.recipe import EngineSettings, LoraSettings, Matmul, Precision
from solon.digest import seed_for
from solon.errors import ModelError
from solon.model_folders import load, model_window
from solon.model_folders.load import ModelHead, load_model, quietly
from solon.model_folders.mixed_precision import lower, raise_to_float32
from solon.runs.files import write_atomically
from solon.training.checkpoint import writing
from solon.training.encoding import TextTokenizer

Trainable = PreTrainedModel | PeftModel
DEFAULT_ADAPTER = "default"
"""peft's own name for the adapter of a model that has one."""
_PAD_NAMES = ("<|pad|>", "<pad>", "[PAD]", "<|finetune_right_pad_id|>")


@contextmanager
def arithmetic(settings: EngineSettings) -> Iterator[None]:
    """The recipe's threads and precision of matrix products, for the length of a block."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(settings.threads or threads)
    torch.set_float32_matmul_precision(settings.matmul.value)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The folder's tokenizer; raises ModelError when there is none or when it has no end token."""
    tokenizer = load.load_tokenizer(folder)
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "the tokenizer has no end token",
            place=str(folder),
            remedy="Name one as eos_token in tokenizer_config.json",
        )
    return tokenizer


def storage_precision(precision: Precision, adapter: LoraSettings | None) -> Precision:
    """How to load a model that learns in this precision: with an adapter its own weights do not learn."""
    return Precision.FLOAT32 if adapter is None else precision


def load_causal_lm(folder: Path, settings: EngineSettings, stored: Precision = Precision.FLOAT32) -> PreTrainedModel:
    """A causal language model, on the GPU when there is one; ModelError for a folder that holds none.

    With `stored` bfloat16 its layers do not learn: their matrices are bfloat16, and everything else is float32.
    """
    return _load(ModelHead.LANGUAGE_MODEL, folder, settings, stored)


def load_preference_model(
    folder: Path, settings: EngineSettings, stored: Precision = Precision.FLOAT32
) -> PreTrainedModel:
    """A sequence classifier with one label, as `save_model` wrote it; raises ModelError for anything else."""
    model = _load(ModelHead.CLASSIFIER, folder, settings, stored)
    if model.config.num_labels != 1:
        raise ModelError(
            f"a preference model has one score, this classifier has {model.config.num_labels}",
            place=str(folder),
            remedy="Give the model folder of the stage preference-model",
        )
    return model


def grow_preference_model(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    settings: EngineSettings,
    seed: int,
    end: int | None = None,
    stored: Precision = Precision.FLOAT32,
) -> PreTrainedModel:
    """A preference model on a causal language model's backbone; `tokenizer` gets a padding token if it has none.

    `end` is the token at which a score is read; the tokenizer's end token when None.

    The head is sampled from N(0, 1 / (H + 1)), so that scores begin near 0 (Huang et al. 2024, detail 11). Raises
    ModelError when the architecture has no classifier with a linear head named `score`.
    """
    pad = ensure_pad(tokenizer, end)
    model = _load(ModelHead.CLASSIFIER, folder, settings, stored, labels=1)
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear):
        raise ModelError(
            f"{type(model).__name__} has no linear head named 'score'",
            place=str(folder),
            remedy="Set models.preference to a decoder such as Llama, Qwen, Mistral or GPT-NeoX",
        )
    known = cast(nn.Embedding, model.get_input_embeddings()).num_embeddings
    if pad >= known:
        model.resize_token_embeddings(pad + 1, mean_resizing=False)
        with torch.no_grad():  # zeros, so that the file does not depend on chance; nothing reads padding
            cast(nn.Embedding, model.get_input_embeddings()).weight[known:] = 0
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        drawn = torch.randn(head.weight.shape, generator=generator) / math.sqrt(head.in_features + 1)
        head.weight.copy_(drawn)
    model.config.get_text_config().pad_token_id = pad
    model.config.pad_token_id = pad
    return model


def ensure_pad(tokenizer: PreTrainedTokenizerBase, end: int | None = None) -> int:
    """The id of a padding token other than `end` and the end token; chooses or adds one if there is none.

    A classifier reads its score at the last token that is not padding; were the end token padding too, it would read
    the token before it. An unused token of the vocabulary is preferred to a new one, which needs a new embedding.
    """
    ends = {tokenizer.eos_token_id, end}
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id not in ends:
        return int(tokenizer.pad_token_id)
    known = tokenizer.get_vocab()
    candidates = [name for name in _PAD_NAMES if name in known and known[name] not in ends]
    unknown = tokenizer.unk_token
    if unknown is not None and tokenizer.unk_token_id not in {*ends, tokenizer.bos_token_id}:
        candidates.append(str(unknown))
    tokenizer.add_special_tokens({"pad_token": candidates[0] if candidates else _PAD_NAMES[0]})
    return int(cast(int, tokenizer.pad_token_id))


def with_adapter(model: PreTrainedModel, adapter: LoraSettings | None, seed: int) -> Trainable:
    """The model with LoRA on every linear layer of its backbone (Hu et al. 2022), or itself when `adapter` is None.

    A classifier's head is trained in full. The random half of each adapter depends only on `seed`.
    """
    if adapter is None:
        return model
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=cast(int, adapter.alpha),  # a float serves as well
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type=TaskType.SEQ_CLS if hasattr(model, "score") else TaskType.CAUSAL_LM,
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft uses a deprecated function of transformers
        torch.manual_seed(seed_for(seed, "adapter"))
        adapted: PeftModel = get_peft_model(cast(Any, model), config)
    adapted.eval()
    return adapted


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Trainable parameters by name; tied ones once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def size_of(model: nn.Module) -> int:
    """The number of the model's parameters, adapters included; tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def unwrap_adapter(model: Trainable) -> PreTrainedModel:
    """The transformers model itself, with an adapter's layers in place."""
    return cast(PreTrainedModel, model.get_base_model() if isinstance(model, PeftModel) else model)


def save_model(model: Trainable, texts: TextTokenizer, folder: Path) -> PreTrainedModel:
    """Write a plain model folder with its tokenizer; an adapter is merged, and its own files go to `adapter/`.

    The folder's chat template writes the format of training, and the generation settings of a language model name every
    token that ends a reply.

    Returns the plain model that was written, in float32. Merging changes `model`, so do not train it further. Raises
    RunError when the disk refuses.
    """
    with quietly(), writing(folder):
        raise_to_float32(model)  # an adapter's change is smaller than what bfloat16 resolves
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(model, PeftModel):
            save_adapter(model, folder)
        merged = model.merge_and_unload(adapter_names=[DEFAULT_ADAPTER]) if isinstance(model, PeftModel) else model
        plain = cast(PreTrainedModel, merged)
        plain.save_pretrained(folder)
        save_format(plain, texts, folder)
    return plain


def save_format(model: PreTrainedModel, texts: TextTokenizer, folder: Path) -> None:
    """Write the tokenizer with the chat template of training, and a language model's generation settings.

    Sampling settings stay those of the original model.
    """
    tokenizer = texts.tokenizer
    tokenizer.chat_template = texts.saved_template()
    tokenizer.save_pretrained(folder)
    settings = getattr(model, "generation_config", None)
    if settings is None or hasattr(model, "score"):
        return
    known = settings.eos_token_id if settings.eos_token_id is not None else []
    ends = {texts.end, *texts.ends, *([known] if isinstance(known, int) else known)}
    written = {**settings.to_diff_dict(), "eos_token_id": sorted(ends)}
    for name in ("bos_token_id", "pad_token_id"):
        own = getattr(tokenizer, name)
        if written.get(name) is None and own is not None:
            written[name] = own
    write_atomically(folder / "generation_config.json", json.dumps(written, indent=2, sort_keys=True) + "\n")


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write the adapter's own files to `folder/adapter`."""
    model.save_pretrained(
        str(folder / "adapter"),
        safe_serialization=True,
        selected_adapters=[DEFAULT_ADAPTER],
        save_embedding_layers=False,
    )
    (folder / "adapter" / "README.md").unlink(missing_ok=True)  # an empty template


def _load(
    kind: ModelHead,
    folder: Path,
    settings: EngineSettings,
    stored: Precision,
    *,
    labels: int | None = None,
) -> PreTrainedModel:
    # Under reduced precision the fused attention kernel for CPUs is several times slower than plain products.
    attention = "eager" if settings.matmul is Matmul.MEDIUM and not torch.cuda.is_available() else None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = partial(load_model, kind, folder, attention=attention, labels=labels)
    if stored is Precision.FLOAT32:
        return loaded(dtype=torch.float32, device=device)
    # As the folder stores it and in main memory, so that there is never a whole model in float32 on the GPU.
    model = loaded(dtype="auto")
    language = kind is ModelHead.LANGUAGE_MODEL
    lower(model, cast(Any, model).get_output_embeddings() if language else getattr(model, "score", None))
    return cast(PreTrainedModel, cast(nn.Module, model).to(device))


def window_of(model: PreTrainedModel, settings: EngineSettings) -> int:
    """The most tokens that a model reads: its own limit, or the recipe's smaller one."""
    return window_in(model.config, settings)


def window_in(config: PreTrainedConfig, settings: EngineSettings) -> int:
    """The same from a model's configuration."""
    limits = [limit for limit in (model_window.window_in(config.get_text_config()), settings.window) if limit]
    return min(limits) if limits else 1 << 30
