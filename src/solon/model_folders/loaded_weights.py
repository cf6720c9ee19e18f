"""Checks the weights of a model after loading: none is missing, none that the model needs was left out, all are finite.

transformers loads what fits a configuration and drops the rest with a warning. That is right for the vision tower of a
text model, and wrong where config.json has fewer layers than the file, no biases, or an adapter is not merged: such a
model answers, but it is not the one that was trained.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from solon.errors import ModelError
from solon.model_folders.folder_check import CONFIG, SAVE_AGAIN, ModelFolder, own_code

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HEAD = "score.weight"
"""The head of a preference model."""
_HEADS = ("lm_head.", "score.")
"""Heads that a model of the other kind does not use."""
_ADAPTERS = re.compile(r"(^|\.)(lora_\w+|base_layer|modules_to_save)(\.|$)")
_BUFFERS = re.compile(r"(^|\.)(inv_freq|masked_bias|position_ids|causal_mask|(attn|attention)\.bias|version)$")
"""What old checkpoints hold beside weights, and every model computes itself."""
_SHOWN = 3


def check_weights(
    model: PreTrainedModel, report: Mapping[str, Any], found: ModelFolder, fresh: frozenset[str]
) -> str | None:
    """A remark about weights in the files that the model does not use, or None; `fresh` are those that may be missing.

    `report` is transformers' loading info. Raises ModelError when a weight is missing or not finite, or one is left
    out that belongs to the model.
    """
    surplus = sorted(name for name in report["unexpected_keys"] if not _BUFFERS.search(name))
    if adapters := [name for name in surplus if _ADAPTERS.search(name)]:
        raise ModelError(
            f"the weights hold an adapter that is not merged: {_some(adapters)}",
            place=str(found.path),
            remedy="Merge it with peft's merge_and_unload and save the whole model",
        )
    missing = sorted(set(report["missing_keys"]) - fresh)
    if HEAD in missing:
        raise ModelError(
            f"this is no preference model ({', '.join(found.architectures) or found.kind}): it has no head '{HEAD}'",
            place=str(found.path),
            remedy="Give the folder that the stage preference-model wrote, such as RUN:preference-model",
        )
    if missing:
        raise ModelError(
            f"weights are missing: {', '.join(missing[:_SHOWN])}", place=str(found.path), remedy=SAVE_AGAIN
        )
    unused = [name for name in surplus if not name.startswith(_HEADS)]
    if unused and own_code(found.config):
        raise ModelError(
            f"without the folder's own code, which is never run, the weights {', '.join(unused[:_SHOWN])} are unused",
            place=str(found.path),
            remedy="Give a model of an architecture that transformers itself has",
        )
    ahead = getattr(model.config.get_text_config(decoder=True), "num_nextn_predict_layers", None)
    if left_out := [name for name in unused if _belongs(model, name, ahead if type(ahead) is int else 0)]:
        raise ModelError(
            f"the model that it describes has no place for the weights {_some(left_out)}",
            place=str(found.path / CONFIG),
            remedy="Restore config.json from a copy; to do without them, save the model again with save_pretrained",
        )
    _refuse_infinite(model, found)
    return f"the model does not use these weights of its folder: {_some(unused)}" if unused else None


def _belongs(model: nn.Module, name: str, ahead: int) -> bool:
    """Whether a weight belongs to a layer that the model lacks, or to a part of it that has no such weight.

    The last `ahead` layers of the files predict later tokens, which the model does without.
    """
    *steps, leaf = name.split(".")
    part: Any = model
    inside = False
    for step in steps:
        if isinstance(part, nn.ModuleList) and step.isdecimal():
            inside = True
            if int(step) >= len(part):
                return int(step) >= len(part) + ahead
        part = getattr(part, step, None)
        if part is None:
            break
    held = inside if part is None else getattr(part, "weight", None) is not None
    return held and leaf in ("weight", "bias")  # neither scales of a quantization nor buffers


def _refuse_infinite(model: nn.Module, found: ModelFolder) -> None:
    for name, weight in model.named_parameters():
        # Minimum and maximum need one pass and no memory; NaN is both of them.
        if (
            weight.numel()
            and not weight.is_meta
            and not all(math.isfinite(float(each)) for each in weight.detach().aminmax())
        ):
            raise ModelError(
                f"the weight '{name}' holds a number that is not finite",
                place=str(found.path),
                remedy="Restore the folder from a copy, or save the model again; half precision may have overflowed",
            )


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
