"""Runs the variants of an ablation and measures them.

Every variant is an ordinary run directory that ends after the measured stage. It resumes, `solon run` continues it, and
it reuses what earlier variants did under the same settings. The oracle then grades what they wrote; its labels never
reach a variant. With several seeds every variant runs once with each, and the figures are means over seeds: training
runs differ more than replies do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from solon.config.builtin import constitution_path
from solon.config.experiment import AblationMeasure, Experiment, LabelledBy, Trial
from solon.errors import RunError
from solon.evals import earlier_tables
from solon.pipeline.extra_stages import measure_preferences, measure_supervised
from solon.pipeline.graders import grader_of
from solon.pipeline.open_run import pinned
from solon.pipeline.preflight import preflight
from solon.pipeline.run_stages import run_stages
from solon.pipeline.session import finished
from solon.runs import RunDirectory
from solon.runs.files import write_atomically
from solon.runs.progress import Display, Progress
from solon.runs.rows import ReplyRow, RevisionRow
from solon.stages.plan import CRITIQUE_REVISION, MEASURE, PREFERENCE_MODEL, RESPONSES, SL_CAI
from solon.stages.s06_ai_feedback import LabelOverride
from solon.stats.intervals import mean
from solon.testbed.oracle_labels import NAME, oracle_labels

EXPERIMENT, FIGURES = "ablation.yaml", "ablation.json"
LAST_STAGE = {
    AblationMeasure.REVISIONS: CRITIQUE_REVISION,
    AblationMeasure.SL_CAI: SL_CAI,
    AblationMeasure.PREFERENCE_MODEL: PREFERENCE_MODEL,
    AblationMeasure.MODELS: MEASURE,
}


def ablate(experiment: Experiment, trials: Sequence[Trial], folder: Path, display: Display) -> dict[str, Any]:
    """Run and measure all trials below `folder`, or go on with them; returns the figures, also in `ablation.json`.

    `{"name", "question", "measure", "seeds", "variants": {NAME: FIGURES}}`, where a variant's figures are shares by
    revision step and label (`revisions`), by label (`sl-cai`), by what a reply is better in (`preference-model`), or by
    model and label (`models`). With several seeds a share is the mean over them, with its t-interval, and `by_seed`
    has the share of each. Raises RunError when the folder holds something else, and what stages raise.
    """
    _check_trials(trials, folder, LAST_STAGE[experiment.measure], display)
    _claim(folder, experiment)
    figures: dict[str, list[Any]] = {}
    done: dict[int, list[Path]] = {}
    for trial in trials:
        path, alike = folder / trial.folder, done.setdefault(trial.seed, [])
        reuse = () if (path / "run.json").exists() else tuple(alike)
        run = RunDirectory.create(path, pinned(path, trial.recipe), constitution_path(trial.recipe.constitution), reuse)
        with run.lock():
            shown = VariantDisplay(display, trial.folder)
            by_oracle = trial.variant.labelled_by is LabelledBy.ORACLE
            override = LabelOverride(NAME, oracle_labels) if by_oracle else None
            run_stages(run, shown, LAST_STAGE[experiment.measure], override)
            figures.setdefault(trial.variant.name, []).append(_measured(run, experiment.measure, shown))
        alike.append(path)
    found = {
        "name": experiment.name,
        "question": experiment.question,
        "measure": experiment.measure.value,
        "seeds": list(experiment.seeds),
        "variants": {name: over_seeds(of_seeds) for name, of_seeds in figures.items()},
    }
    write_atomically(folder / FIGURES, json.dumps(found, indent=1) + "\n")
    return found


def _check_trials(trials: Sequence[Trial], folder: Path, until: str, display: Display) -> None:
    """Raise, before anything is made, for what would stop a trial that has not begun; show each note once."""
    notes: dict[str, None] = {}
    for trial in trials:
        if not (folder / trial.folder / "run.json").exists():
            found = preflight(trial.recipe, constitution_path(trial.recipe.constitution), until=until)
            notes |= dict.fromkeys(found)
    for note in notes:
        display.remark(note)


def over_seeds(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of one variant, each share the mean over its seeds; those of a single seed as they are."""
    if len(figures) == 1:
        return dict(figures[0])
    if all("value" in each for each in figures):
        values = [float(each["value"]) for each in figures]
        found = mean(values)
        assert found is not None
        if figures[0]["high"] <= 1:  # a share, which the t interval does not know
            found = replace(found, low=max(0.0, found.low), high=min(1.0, found.high))
        return {**found.facts(), "by_seed": values}
    shared = [key for key in figures[0] if all(key in each for each in figures)]
    return {key: over_seeds([each[key] for each in figures]) for key in shared}


@dataclass(frozen=True, slots=True)
class VariantDisplay:
    """A display that says which variant a stage is of."""

    shown: Display
    variant: str

    def stage_started(self, number: int, name: str, total_stages: int) -> None:
        """See `Display`."""
        self.shown.stage_started(number, f"{self.variant}: {name}", total_stages)

    def progress(self, at: Progress) -> None:
        """See `Display`."""
        self.shown.progress(at)

    def stage_finished(self, name: str, rows: int, outcomes: Mapping[str, int], seconds: float, unit: str = "") -> None:
        """See `Display`."""
        self.shown.stage_finished(f"{self.variant}: {name}", rows, outcomes, seconds, unit)

    def remark(self, line: str) -> None:
        """See `Display`."""
        self.shown.remark(line)

    def stage_kept(self, number: int, name: str, total_stages: int, rows: int, unit: str = "") -> None:
        """See `Display`."""
        self.shown.stage_kept(number, f"{self.variant}: {name}", total_stages, rows, unit)


def _measured(run: RunDirectory, measured: AblationMeasure, display: Display) -> dict[str, Any]:
    if measured is AblationMeasure.MODELS:
        models: dict[str, Any] = finished(run, MEASURE).facts["models"]
        return models
    if measured is not AblationMeasure.REVISIONS:
        supervised = measured is AblationMeasure.SL_CAI
        taken = measure_supervised(run, display) if supervised else measure_preferences(run, display)
        facts: dict[str, Any] = taken.facts["models"][SL_CAI] if supervised else taken.facts["order"]
        return facts
    grader = grader_of(run.recipe)
    assert grader is not None, "recipes without a grader are refused before anything runs"
    replies = finished(run, RESPONSES).stream(ReplyRow)
    revisions = finished(run, CRITIQUE_REVISION).stream(RevisionRow)
    return earlier_tables.revision_facts(earlier_tables.rate_revisions(grader, replies, revisions))


def _claim(folder: Path, experiment: Experiment) -> None:
    """Make the folder this ablation's; raises RunError when it is another's or holds something else."""
    text = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    file = folder / EXPERIMENT
    if file.exists():
        if file.read_text(encoding="utf-8") != text:
            raise RunError("the folder holds another ablation", place=str(file), remedy="Name a new folder with --out")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError("the folder is not empty", place=str(folder), remedy="Name a new folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(file, text)
