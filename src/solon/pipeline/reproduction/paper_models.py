"""Does the planned runs, and finds the models that they trained.

Every run is an ordinary run directory below `runs/`. It resumes, and takes the stages of the runs that the plan names.
A policy counts at each of its snapshots; at step 0 it is the model that it started from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.config.builtin import constitution_path, model_path
from solon.config.recipe import Method
from solon.pipeline.ablation import VariantDisplay
from solon.pipeline.extra_stages import measure_supervised
from solon.pipeline.open_run import pinned
from solon.pipeline.preflight import preflight
from solon.pipeline.reproduction.paper_runs import (
    POLICY_RUNS,
    RL_CAI_COT,
    PlannedRun,
    ReproductionSize,
    recipe_of,
    sl_cai_name,
)
from solon.pipeline.run_stages import run_stages
from solon.pipeline.session import finished
from solon.rl.policy_snapshots import SNAPSHOTS, snapshot_path
from solon.runs import RunDirectory
from solon.runs.progress import Display
from solon.stages.plan import MEASURE, SL_CAI, policies_of

RUNS = "runs"
PRETRAINED, ASSISTANT = "pretrained", "assistant"


@dataclass(frozen=True, slots=True)
class PaperModel:
    """A model of the paper: its name in votes and scores, its folder, and for a policy its run and step."""

    name: str
    folder: Path
    run: str = ""
    step: int = 0


def check_runs(runs: Sequence[PlannedRun], size: ReproductionSize, settings: Sequence[str], folder: Path) -> list[str]:
    """Notes on the runs that have not begun; raises, before anything is made, for what would stop one of them."""
    notes: dict[str, None] = {}
    for run in runs:
        if not (folder / RUNS / run.name / "run.json").exists():
            recipe = recipe_of(run, size, settings)
            notes |= dict.fromkeys(preflight(recipe, constitution_path(recipe.constitution), until=run.until))
    return list(notes)


def do_runs(
    runs: Sequence[PlannedRun], size: ReproductionSize, settings: Sequence[str], folder: Path, display: Display
) -> dict[str, RunDirectory]:
    """Every run by name, done up to its last stage; raises what stages raise, and Interrupted when asked to stop."""
    done: dict[str, RunDirectory] = {}
    for planned in runs:
        path = folder / RUNS / planned.name
        recipe = pinned(path, recipe_of(planned, size, settings))
        reuse = () if (path / "run.json").exists() else tuple(done[name].path for name in planned.reuses)
        run = RunDirectory.create(path, recipe, constitution_path(recipe.constitution), reuse)
        shown = VariantDisplay(display, planned.name)
        with run.lock():
            run_stages(run, shown, planned.until)
            if planned.until == SL_CAI:
                measure_supervised(run, shown)
        done[planned.name] = run
    return done


def models_of(runs: Mapping[str, RunDirectory]) -> list[PaperModel]:
    """Every model of the paper: the two that runs start from, SL-CAI-n, and each snapshot of each policy."""
    whole = runs[RL_CAI_COT].recipe
    revisions = whole.revision.steps
    supervised = {sl_cai_name(n): runs[sl_cai_name(n)] for n in range(1, revisions)}
    supervised[sl_cai_name(revisions)] = runs[RL_CAI_COT]
    return [
        PaperModel(PRETRAINED, model_path(whole.models.pretrained)),
        PaperModel(ASSISTANT, model_path(whole.models.assistant)),
        *(PaperModel(name, finished(run, SL_CAI).model) for name, run in supervised.items()),
        *(model for name in POLICY_RUNS for model in _snapshots(name, runs[name])),
    ]


def _snapshots(name: str, run: RunDirectory) -> Iterator[PaperModel]:
    artefact = finished(run, policies_of(run.recipe)[-1])
    for step in artefact.facts.get("snapshots") or ():
        yield PaperModel(f"{name}-step-{step}", snapshot_path(artefact.path / SNAPSHOTS, step), name, step)


def course_of(run: str, models: Sequence[PaperModel], revisions: int, method: Method) -> list[tuple[int, str]]:
    """A policy's steps and the names of its models, its start (step 0) first."""
    start = PRETRAINED if method is Method.RLHF else sl_cai_name(revisions)
    return [(0, start), *((model.step, model.name) for model in models if model.run == run)]


def replies_of(runs: Mapping[str, RunDirectory]) -> dict[str, dict[str, Any]]:
    """The oracle's measures of every final model's replies to held-out prompts, `{model: {label: share}}`."""
    found: dict[str, dict[str, Any]] = {}
    for name in (RL_CAI_COT, *(each for each in runs if each not in POLICY_RUNS), *POLICY_RUNS):
        run = runs[name]
        if name in POLICY_RUNS:
            models = dict(finished(run, MEASURE).facts["models"])
            policy = policies_of(run.recipe)[-1]
            for model, measures in models.items():
                own = sl_cai_name(run.recipe.revision.steps) if model == SL_CAI else model
                found.setdefault(name if model == policy else own, measures)
        elif (artefact := run.finished("sl-cai-measure")) is not None:
            found[name] = artefact.facts["models"][SL_CAI]
    return found


def stage_minutes(runs: Mapping[str, RunDirectory]) -> dict[str, float]:
    """The minutes that the stages of each run took, without those that were taken from another run."""
    return {
        name: sum(each.manifest.seconds for each in run.artefacts() if each.manifest.adopted_from is None) / 60
        for name, run in runs.items()
    }
