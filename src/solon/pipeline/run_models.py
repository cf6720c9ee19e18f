"""Models by the name that a person gives on a command line, those of runs among them.

    RUN:rl-cai          the model that a stage of the run trained
    RUN:rl-cai/20       a snapshot of the policy, after 20 steps
    RUN:assistant       a model that the run was given; RUN:pretrained is the other
    models/llama, testbed:assistant, fetched:NAME, hf:ORG/NAME, a plug-in's address      as everywhere else

A model of a run comes with the run's recipe and constitution, so that it is asked as the run asked it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from solon.config.builtin import model_path
from solon.config.located_yaml import suggestion
from solon.config.model_spec import FOLDER, ModelSpec, located
from solon.errors import RunError
from solon.runs import Artefact, RunDirectory
from solon.runs.directory import RUN

GIVEN = ("pretrained", "assistant")
"""The models that a run is given, as the results name them."""
_SNAPSHOT = re.compile(r"(snapshots/step-(\d{5,9}))/")


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model, and the run that it belongs to."""

    spec: ModelSpec
    run: RunDirectory | None = None


def named_model(text: str) -> NamedModel:
    """The model of a name; a model of a run has its hashes checked.

    Raises ModelError for a name without a model, and RunError for a run that has no model of that name yet.
    """
    spec = ModelSpec.parse(text)
    folder, colon, name = text.rpartition(":")
    if spec.scheme != FOLDER or Path(text).joinpath("config.json").is_file():
        return NamedModel(located(spec))
    if colon and (Path(folder) / RUN).is_file():
        run = RunDirectory.open(Path(folder))
        return NamedModel(ModelSpec(FOLDER, str(model_of(run, name))), run)
    if (Path(text) / RUN).is_file():
        run = RunDirectory.open(Path(text))
        names = ", ".join(f"{text}:{each}" for each in models_in(run))
        raise RunError("this is a run, and a model of it is wanted", place=text, remedy=f"Name one of {names}")
    return NamedModel(located(spec))


def folder_of_run(text: str) -> str | None:
    """The folder of a run's model by its name; None for a name that is not of a run. Raises as `named_model` does."""
    runs = (Path(text.rpartition(":")[0] or text), Path(text))
    return str(named_model(text).spec) if any((run / RUN).is_file() for run in runs) else None


def models_in(run: RunDirectory) -> tuple[str, ...]:
    """The names of a run's models: those that it was given, then those that its finished stages trained."""
    trained = (each.name for each in run.artefacts() if any(file.startswith("model/") for file in each.manifest.files))
    return (*GIVEN, *trained)


def model_of(run: RunDirectory, name: str) -> Path:
    """The folder of a run's model by its name in the results, or of a snapshot, `STAGE/STEP`.

    Raises RunError for a name that the run has no model of, and for a file that has changed since it was published.
    """
    stage, slash, step = name.partition("/")
    if stage in GIVEN and not slash:
        return model_path(getattr(run.recipe.models, stage))
    artefact = run.finished(stage) if stage in models_in(run) else None
    if artefact is None:
        cause = f"it has no model '{stage}' yet"
        raise RunError(cause, place=str(run.path), remedy=suggestion(stage, models_in(run)))
    return _snapshot(artefact, step) if slash else artefact.model


def _snapshot(artefact: Artefact, step: str) -> Path:
    folders = {str(int(found[2])): found[1] for name in artefact.manifest.files if (found := _SNAPSHOT.match(name))}
    folder = folders.get(step.removeprefix("step-").lstrip("0"))
    if folder is None:
        kept = sorted(folders, key=int)
        remedy = f"There are those of steps {', '.join(kept)}" if kept else "Keep some with --set rl.snapshots=10"
        raise RunError(f"it has no snapshot '{step}'", place=str(artefact.path), remedy=remedy)
    artefact.verify(f"{folder}/")
    return artefact.path / folder
