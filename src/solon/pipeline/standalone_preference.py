"""A preference model from files of labels and comparisons, outside any run.

It is the stage preference-model in a folder of its own; settings, measures and resuming are those of a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from solon.config.recipe import Recipe
from solon.digest import digest_source
from solon.engines import rounding
from solon.engines.rounding import keyed, made_with
from solon.errors import StageError
from solon.feedback.preference_examples import HUMAN
from solon.reward.preference_model import PreferenceModel
from solon.runs import Artefact, Report, ignore
from solon.runs.standalone_stage import run_standalone
from solon.sources.comparison_files import read_all_comparisons
from solon.sources.label_files import label_columns, label_file_of, read_labels
from solon.stages.s07_preference_model import PreferenceInputs, Preferences, run
from solon.training import loop as training

NAME = "preference-model"


@dataclass(frozen=True, slots=True)
class Sources:
    """The model to grow from, labelled pairs (files, stage folders or runs), and human comparisons."""

    base: Path
    labels: tuple[Path, ...] = ()
    human: Path | None = None


def train_standalone(folder: Path, recipe: Recipe, sources: Sources, report: Report = ignore) -> Artefact:
    """Train in `folder`, or go on; of the recipe `seed`, `engine` and `preference` count.

    Raises what `read_labels` and the stage raise, and RunError for a folder that was begun with something else.
    """
    if not sources.labels and sources.human is None:
        raise StageError("there is nothing to learn from", remedy="Give --labels FILE, --human FILE or both")
    columns = label_columns(recipe.preference.columns)
    labels = read_labels(sources.labels, columns)
    if sources.human is not None:
        # Read before the folder is made, so that a faulty file leaves none behind.
        read_all_comparisons({HUMAN: sources.human}, recipe.preference.columns)
    else:
        columns.refuse_unmet(", ".join(map(str, sources.labels)))
    inputs = PreferenceInputs(recipe.seed, sources.base, recipe.engine, labels, sources.human)
    key: dict[str, object] = {
        "settings": recipe.preference.model_dump(mode="json"),
        "seed": recipe.seed,
        "engine": keyed(recipe.engine),
        "code": {"stage": Preferences.code, "asking": rounding.CODE, "training": training.CODE},
        "base": digest_source(sources.base),
        "labels": _hashes([label_file_of(source) for source in sources.labels]),
        "human": _hashes([sources.human] if sources.human else []),
    }
    return run_standalone(folder, NAME, key, partial(run, recipe.preference, inputs), report, made_with(recipe.engine))


def _hashes(files: Sequence[Path]) -> list[str]:
    return [digest_source(file) for file in files]


@dataclass(frozen=True, slots=True)
class PreferenceTraining:
    """A finished training: its folder, and what was measured on prompts that it held out."""

    artefact: Artefact

    @property
    def path(self) -> Path:
        """The folder of the training; the model is in `model`."""
        return self.artefact.path

    @property
    def facts(self) -> Mapping[str, Any]:
        """Accuracy, Brier score and calibration error by source, counts, and the centre."""
        return self.artefact.facts

    @property
    def model_folder(self) -> Path:
        """The folder of the model, which any program that reads transformers' folders can open; hashes are checked."""
        return self.artefact.model

    def model(self) -> PreferenceModel:
        """The trained model, ready to score."""
        return PreferenceModel.load(self.model_folder)
