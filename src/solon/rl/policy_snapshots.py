"""Policy snapshots: every few steps the policy is saved as a model folder, `snapshots/step-00010`.

Training continues, so nothing here may change the policy: merged weights of an adapter are computed in copies, with the
same bits as merging in place, and the adapter's own files are saved as well. A snapshot is written under a temporary
name and renamed when it is complete. A run that resumes from a checkpoint removes the snapshots of later steps, as it
does with metrics; a repeated step writes its folder again.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor

from solon.model_folders.load import quietly
from solon.runs.files import reporting_write_errors
from solon.training.checkpoint import PARTIAL, writing
from solon.training.encoding import TextTokenizer
from solon.training.models import DEFAULT_ADAPTER, Trainable, save_adapter, save_format, unwrap_adapter

SNAPSHOTS = "snapshots"
"""The subfolder of the stage for snapshots."""
_NAME = re.compile(r"step-(\d{5,})")
_BASE, _LORA = ".base_layer", ".lora_"


@dataclass(frozen=True, slots=True)
class PolicySnapshots:
    """Saves snapshots of a policy in a folder; a sink of metrics too, to learn where a run resumes."""

    folder: Path
    policy: Trainable
    texts: TextTokenizer

    def begin(self, step: int) -> None:
        """Remove the snapshots of later steps, and what is half-written; RunError when the disk refuses."""
        later = [snapshot_path(self.folder, each) for each in steps_in(self.folder) if each > step]
        with reporting_write_errors(self.folder):
            for stale in (*later, *self.folder.glob(f"*{PARTIAL}")):
                shutil.rmtree(stale)

    def add(self, row: Mapping[str, Any]) -> None:
        """Ignore metrics."""

    def finish(self) -> None:
        """See `Sink`."""

    def keep(self, step: int) -> None:
        """Save the policy after `step` steps, replacing an earlier session's snapshot of this step.

        Raises RunError when the disk refuses.
        """
        final = snapshot_path(self.folder, step)
        partial = final.with_name(final.name + PARTIAL)
        with quietly(), writing(final):
            for stale in (partial, final):
                shutil.rmtree(stale, ignore_errors=True)
            partial.mkdir(parents=True)
            if isinstance(self.policy, PeftModel):
                save_adapter(self.policy, partial)
            unwrap_adapter(self.policy).save_pretrained(partial, state_dict=dict(merged_weights(self.policy)))
            save_format(unwrap_adapter(self.policy), self.texts, partial)
            os.replace(partial, final)


def snapshot_path(folder: Path, step: int) -> Path:
    """The model folder of the policy after `step` steps."""
    return folder / f"step-{step:05d}"


def steps_in(folder: Path) -> list[int]:
    """The steps of the snapshots in a folder, in order."""
    found = (_NAME.fullmatch(entry.name) for entry in folder.iterdir()) if folder.is_dir() else ()
    return sorted(int(each[1]) for each in found if each is not None)


def merged_weights(model: Trainable) -> Mapping[str, Tensor]:
    """The weights of the plain model in float32, by their plain names.

    An adapter's part is added to copies (W + s B A).
    """
    plain = unwrap_adapter(model)
    weights: dict[str, Tensor] = {name: weight.float() for name, weight in plain.state_dict().items()}
    if not isinstance(model, PeftModel):
        return weights
    with torch.no_grad():
        for name, layer in plain.named_modules():
            if isinstance(layer, LoraLayer) and DEFAULT_ADAPTER in layer.scaling:
                weight, delta = weights[f"{name}{_BASE}.weight"], cast(Any, layer).get_delta_weight(DEFAULT_ADAPTER)
                weights[f"{name}{_BASE}.weight"] = weight + delta.to(weight.dtype)
    return {name.replace(_BASE, ""): weight for name, weight in weights.items() if _LORA not in name}
