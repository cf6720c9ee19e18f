"""Exports a run's model as a folder for a model hub: weights, tokenizer, model card, constitution.

It copies the files of the finished stage and checks their hashes. It writes the whole folder or nothing.
"""

from __future__ import annotations

import json
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Any

from solon.errors import RunError
from solon.export.model_card import base_of, card
from solon.runs import Artefact, RunDirectory
from solon.runs.files import assembling
from solon.stages.plan import RLHF, SL_CAI, language_models_of

ADAPTER = "adapter"
CARD = "README.md"


class ExportedWeights(StrEnum):
    """Which weights are exported."""

    MERGED = "merged"
    """The whole model, with its adapter merged."""
    ADAPTER = "adapter"
    """Only the LoRA adapter."""


def export_model(run: RunDirectory, model: str, weights: ExportedWeights, folder: Path) -> Path:
    """Write the model of a stage to a new folder in the hub's layout; returns the folder.

    `model` is `sl-cai`, `rl-cai`, `rlhf`, or `rl-cai-2` for round 2. Raises RunError when the model is not trained yet
    or damaged, when it has no adapter to export, and when the folder is not empty.
    """
    artefact = _trained(run, model)
    with assembling(folder) as part:
        if weights is ExportedWeights.ADAPTER:
            _copy_adapter(run, artefact, part)
        else:
            shutil.copytree(artefact.model, part, dirs_exist_ok=True, ignore=shutil.ignore_patterns(ADAPTER))
        shutil.copyfile(run.path / "constitution.yaml", part / "constitution.yaml")
        (part / CARD).write_text(
            card(run, artefact, adapter=weights is ExportedWeights.ADAPTER), encoding="utf-8", newline="\n"
        )
    return folder


def _trained(run: RunDirectory, model: str) -> Artefact:
    trained = language_models_of(run.recipe)
    if model not in trained:
        cause = f"the run trains no model '{model}'"
        raise RunError(cause, place=str(run.path), remedy=f"Known: {', '.join(trained)}")
    artefact = run.finished(model)
    if artefact is None:
        raise RunError(
            f"'{model}' is not trained yet",
            place=str(run.path),
            remedy=f"Continue with: solon run {run.path} --until {model}",
        )
    return artefact


def _copy_adapter(run: RunDirectory, artefact: Artefact, folder: Path) -> None:
    source = artefact.model / ADAPTER
    if not source.is_dir():
        raise RunError(
            f"'{artefact.name}' was trained in full and has no adapter",
            place=str(artefact.path),
            remedy="Export it with --weights merged",
        )
    if artefact.name not in (SL_CAI, RLHF):
        raise RunError(
            f"the base of the adapter of '{artefact.name}' is this run's {SL_CAI}, which is not published",
            place=str(artefact.path),
            remedy="Export it with --weights merged",
        )
    shutil.copytree(source, folder, dirs_exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (artefact.model / name).is_file():
            shutil.copyfile(artefact.model / name, folder / name)
    # peft writes this machine's path of the base model into the file.
    config = folder / "adapter_config.json"
    settings: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
    settings["base_model_name_or_path"], settings["revision"] = base_of(run.recipe, artefact.name)
    config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
