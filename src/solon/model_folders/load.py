"""Loads the parts of a model folder: configuration, tokenizer, weights, generation settings, adapter.

No other module loads them; a test keeps `from_pretrained` out of the others. Every load is local, from safetensors,
without the folder's code, and silent. If config.json names the folder's own code and an architecture that transformers
has, the library's class is used, as transformers itself does for code it does not trust, provided that it uses every
weight; otherwise the folder is refused. The same holds for a tokenizer's class. A model is first built without memory,
so that a configuration larger than the files is refused before anything is allocated. Missing weights are an error, and
so are weights that are not finite, because later they would look like a fault of the method.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from solon.errors import ModelError, SolonError
from solon.model_folders.adapter import AdapterSettings, adapter_settings
from solon.model_folders.folder_check import (
    CONFIG,
    SAVE_AGAIN,
    ModelFolder,
    check_config,
    check_folder,
    check_tokenizer,
    own_code,
    own_tokenizer,
    read_json,
)
from solon.model_folders.loaded_weights import HEAD, check_weights
from solon.model_folders.model_kind import refuse_classifier, refuse_encoder
from solon.model_folders.system_memory import is_out_of_memory

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "AdapterSettings",
    "ModelHead",
    "adapter_settings",
    "load_config",
    "load_generation_config",
    "load_model",
    "load_tokenizer",
    "quietly",
]
_SPARE = 1 << 24
"""Elements that a model may have beyond its files: a new head, tables of positions."""


class ModelHead(StrEnum):
    """The kind of model to load a folder as."""

    LANGUAGE_MODEL = "AutoModelForCausalLM"
    CLASSIFIER = "AutoModelForSequenceClassification"


def load_config(folder: Path) -> PreTrainedConfig:
    """The configuration of a model folder; raises ModelError when transformers does not know its architecture."""
    return _config(folder, check_config(folder))


def load_tokenizer(folder: Path, **options: object) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder; raises ModelError when there is none. `options` go to the tokenizer."""
    from transformers import AutoTokenizer

    _refuse_own_code(folder, check_config(folder))
    code = check_tokenizer(folder)
    try:
        with _one_error(folder, "transformers cannot load the tokenizer"):
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **options
            )
    except ModelError as error:
        raise own_tokenizer(folder, code) if code else error from error.__cause__
    return tokenizer


def load_generation_config(folder: Path) -> GenerationConfig | None:
    """The generation settings of a model, or None; raises ModelError when the file is damaged."""
    from transformers import GenerationConfig

    file = folder / "generation_config.json"
    if not file.is_file():
        return None
    with _one_error(file, "the generation settings cannot be read"):
        settings: GenerationConfig = cast(Any, GenerationConfig).from_dict(read_json(file))
    return settings


def load_model(
    kind: ModelHead,
    folder: Path,
    *,
    dtype: torch.dtype | str,
    device: str | torch.device = "cpu",
    attention: str | None = None,
    labels: int | None = None,
    device_map: str | None = None,
    remarks: list[str] | None = None,
) -> PreTrainedModel:
    """The model in a folder, in evaluation mode on `device`; `dtype` may be "auto": the stored one.

    With a `device_map` accelerate spreads its layers over the GPUs instead, for asking only.

    `attention` names the implementation; with None transformers chooses. `labels` is the width of a new classifier's
    head, which the folder need not have. `remarks` gets a line about weights that the model does not use. Raises
    ModelError with the folder or file when the folder cannot be loaded or holds a model of the other kind, a weight is
    missing, left out or not finite, or the model does not fit into memory.
    """
    import transformers

    found = check_folder(folder)
    config = _config(folder, found.config)
    if kind is ModelHead.LANGUAGE_MODEL:
        refuse_classifier(found)
    config._attn_implementation = attention  # whatever the folder asks for: it may name code on the hub
    config._experts_implementation = None
    if labels is not None:
        config.num_labels = labels
    library = getattr(transformers, kind.value)
    with _one_error(folder, "transformers cannot load this model"):
        _check_size(library, config, found)
        model, report = library.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            device_map=device_map,
        )
        model = model.eval() if device_map else model.eval().to(device)
    _refuse_disk(folder, getattr(model, "hf_device_map", {}))
    refuse_encoder(model, str(folder / CONFIG))
    remark = check_weights(model, report, found, frozenset() if labels is None else frozenset({HEAD}))
    if remark and remarks is not None:
        remarks.append(remark)
    return cast("PreTrainedModel", model)


def _config(folder: Path, written: Mapping[str, Any]) -> PreTrainedConfig:
    from transformers import AutoConfig

    _refuse_own_code(folder, written)
    with _one_error(folder, "transformers cannot load this model"):
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return config


def _refuse_own_code(folder: Path, written: Mapping[str, Any]) -> None:
    """Refuse a configuration that needs the folder's own code because transformers has no such architecture."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    code, architecture = own_code(written), written.get("model_type")
    if code and (not isinstance(architecture, str) or architecture not in CONFIG_MAPPING):
        raise ModelError(
            f"the model is code of the folder's own ({code}), which is never run",
            place=str(folder / CONFIG),
            remedy="Give a model of an architecture that transformers itself has",
        )


def _check_size(library: Any, config: PreTrainedConfig, found: ModelFolder) -> None:
    """Refuse a configuration that describes a larger model than the files hold, before allocating it."""
    with torch.device("meta"):
        shell = library.from_config(copy.deepcopy(config), trust_remote_code=False)
    described = sum(each.numel() for each in (*shell.parameters(), *shell.buffers()))
    if described > 2 * found.contents.elements + _SPARE:
        raise ModelError(
            f"the configuration describes {described:,} numbers, its weights hold {found.contents.elements:,}",
            place=str(found.path / CONFIG),
            remedy="Restore config.json from a copy",
        )


def _refuse_disk(folder: Path, placed: Mapping[str, object]) -> None:
    if "disk" in placed.values():
        raise ModelError(
            "GPUs and main memory together do not hold the model, and asking it from disk takes too long",
            place=str(folder),
            remedy="Take a smaller model, or ask it in bfloat16: --set engine.dtype=bfloat16",
        )


@contextmanager
def _one_error(place: Path, what: str) -> Iterator[None]:
    """Turn any error of a library about a folder into one ModelError line, and silence the library."""
    try:
        with quietly():
            yield
    except SolonError:
        raise
    except Exception as error:  # a damaged folder can raise anything
        if is_out_of_memory(error):
            raise ModelError(
                "the model does not fit into memory",
                place=str(place),
                remedy="Take a smaller model, or free memory: other programs may hold it",
            ) from error
        raise _refusal(place, what, error) from error
    except BaseException as error:  # the tokenizers library raises PanicException
        if type(error).__name__ != "PanicException":
            raise
        raise _refusal(place, what, error) from error


def _refusal(place: Path, what: str, error: BaseException) -> ModelError:
    reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    return ModelError(f"{what}: {reason}", place=str(place), remedy=SAVE_AGAIN)


@contextmanager
def quietly() -> Iterator[None]:
    """Silence the library's progress bars and its warnings about missing or unused weights."""
    from transformers.utils import logging as transformers_logging

    library = cast(Any, transformers_logging)
    level, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity(logging.ERROR)
    library.disable_progress_bar()
    try:
        yield
    finally:
        library.set_verbosity(level)
        if bars:
            library.enable_progress_bar()
