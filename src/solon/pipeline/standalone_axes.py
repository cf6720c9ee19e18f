"""Preference models along all axes of a constitution, and how they go together, in one folder.

    OUT/
        labels/              the judge's label of every pair on every axis
        models/01-AXIS/      a preference model for each axis, trained on its labels alone
        correlations/        scores of held-out pairs, and the correlations

Each part is a stage of its own that is resumed like a run, so a killed call goes on where it stopped. All models start
from the same base and hold out the same prompts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from solon.config.model_spec import ModelSpec
from solon.config.recipe import Recipe
from solon.constitution.constitution import Constitution
from solon.constitution.reader import load_constitution
from solon.engines import rounding
from solon.engines.registry import open_engine
from solon.engines.rounding import keyed, made_with
from solon.errors import RecipeError, RunError
from solon.evals import axis_correlations
from solon.evals.axis_correlations import AxisInputs, compared_pairs, correlate
from solon.evals.judge_check.judge import CheckJudge
from solon.pipeline.standalone_labels import LoadModel, ToLabel, label_standalone
from solon.pipeline.standalone_preference import Sources, train_standalone
from solon.runs import Artefact, Report, RunDirectory
from solon.runs.axis_rows import AxisFigures
from solon.runs.facts import FeedbackFacts, PreferenceFacts, read_facts
from solon.runs.progress import Display, Silent
from solon.runs.rows import LabelRow
from solon.runs.standalone_stage import run_standalone
from solon.sources.pair_files import read_pairs
from solon.stages.plan import RESPONSE_PAIRS

LABELS, MODELS, CORRELATIONS = "labels", "models", "correlations"
NAME = "axes"
_OWN = frozenset({LABELS, MODELS, CORRELATIONS})
_Work = Callable[[Report], Artefact]


@dataclass(frozen=True, slots=True)
class AxesSources:
    """The pairs of replies (a file, or a run with pairs), the constitution's file, the judges, and the base model."""

    pairs: Path
    constitution: Path
    judges: tuple[ModelSpec, ...]
    base: Path
    assess: CheckJudge | None = None
    load: LoadModel = open_engine
    columns: Mapping[str, str] | None = None


def compare_axes(folder: Path, recipe: Recipe, sources: AxesSources, display: Display | None = None) -> Artefact:
    """Label, train and correlate in `folder`, or go on; the artefact of the correlations.

    Of the recipe `seed`, `engine`, `feedback` and `preference` count, without axes and human comparisons of its own.
    Raises RecipeError for a constitution of a single axis, RunError for a folder with other content, StageError, before
    anything is made, when no pair is held out, and what labelling and training raise.
    """
    constitution = load_constitution(sources.constitution)
    axes = axes_named(constitution)
    if folder.exists() and (not folder.is_dir() or {each.name for each in folder.iterdir()} - _OWN):
        raise RunError("the folder has other content", place=str(folder), remedy="Name a new folder")
    steps = _Steps(display or Silent(), len(axes) + 2)
    labelling = _with_axes(recipe, axes)
    pairs = pairs_file(sources.pairs)
    compared_pairs(read_pairs(pairs, sources.columns).pairs, recipe.preference.training.held_out, recipe.seed)
    to_label = ToLabel(
        pairs,
        sources.constitution,
        sources.judges,
        sources.assess,
        sources.load,
        sources.columns,
    )
    labels = steps.done(LABELS, lambda report: label_standalone(folder / LABELS, labelling, to_label, report))
    trained: dict[str, Artefact] = {}
    for number, axis in enumerate(axes, start=1):
        place = folder / MODELS / f"{number:02d}-{folder_name(axis)}"
        training = partial(train_standalone, place, _on_axis(recipe, axis), Sources(sources.base, (labels.path,)))
        trained[axis] = steps.done(f"model of {axis}", training, "steps")
    rows = labels.rows(LabelRow)
    inputs = AxisInputs(
        recipe.seed,
        constitution.name,
        read_facts(FeedbackFacts, labels.facts, str(labels.path)).judge,
        rows,
        recipe.preference.training.held_out,
        {axis: artefact.model for axis, artefact in trained.items()},
        tuple(_figures(axis, rows, artefact) for axis, artefact in trained.items()),
        recipe.engine,
        recipe.engine.batch_size,
    )
    key: dict[str, object] = {
        "seed": recipe.seed,
        "engine": keyed(recipe.engine),
        "code": {"axes": axis_correlations.CODE, "asking": rounding.CODE},
        "labels": labels.hash,
        "models": {axis: artefact.hash for axis, artefact in trained.items()},
        "held_out": inputs.held_out,
    }
    correlating = partial(correlate, inputs)
    made = made_with(recipe.engine)
    return steps.done(
        CORRELATIONS, lambda report: run_standalone(folder / CORRELATIONS, NAME, key, correlating, report, made)
    )


def axes_named(constitution: Constitution) -> tuple[str, ...]:
    """The axes of the preference principles that can be drawn, in order; RecipeError when there are fewer than two."""
    found = tuple(dict.fromkeys(each.axis for each in constitution.preference if each.weight > 0))
    if len(found) < 2:
        raise RecipeError(
            f"the preference principles of constitution '{constitution.name}' are all on the axis '{found[0]}'",
            place="constitution",
            remedy="Name an 'axis' for each principle, or use --constitution dozen-axes",
        )
    if len({folder_name(axis) for axis in found}) < len(found):
        raise RecipeError(
            f"two axes of constitution '{constitution.name}' differ only in case or punctuation",
            place="constitution",
            remedy="Give them different names",
        )
    return found


def folder_name(axis: str) -> str:
    """An axis as a part of a path: its letters and digits, with hyphens in between."""
    return "-".join(re.findall(r"\w+", axis.casefold(), re.ASCII)) or "axis"


def pairs_file(source: Path) -> Path:
    """The file of pairs; of a run the table of its response pairs. RunError for a run that has none yet."""
    if not source.is_dir():
        return source
    artefact = RunDirectory.open(source).finished(RESPONSE_PAIRS) if (source / "run.json").exists() else None
    artefact = artefact or Artefact.open(source)
    if artefact is None:
        raise RunError(
            "no finished pairs of replies in the folder",
            place=str(source),
            remedy="Give a file of pairs, or a run that has finished response-pairs",
        )
    return artefact.path / "rows.parquet"


def _with_axes(recipe: Recipe, axes: Sequence[str]) -> Recipe:
    feedback = recipe.feedback.model_copy(update={"axes": dict.fromkeys(axes, 1.0), "number_of_principles": None})
    return recipe.model_copy(update={"feedback": feedback})


def _on_axis(recipe: Recipe, axis: str) -> Recipe:
    without = {"human_helpfulness": None, "human_harmlessness": None, "columns": None}
    return recipe.model_copy(update={"preference": recipe.preference.model_copy(update={"axis": axis, **without})})


def _figures(axis: str, rows: Sequence[LabelRow], trained: Artefact) -> AxisFigures:
    facts = read_facts(PreferenceFacts, trained.facts, str(trained.path))
    labels = [label.p_a for row in rows for label in row.axes if label.axis == axis]
    return AxisFigures(
        axis=axis,
        labelled=sum(p is not None for p in labels),
        undecided=len(rows) - sum(p is not None for p in labels),
        training=sum(facts.examples.values()),
        held_out=sum(facts.held_out_examples.values()),
        accuracy=next(iter(facts.accuracy.values()), None),
    )


@dataclass(slots=True)
class _Steps:
    """Shows the parts of the work as the stages of a run."""

    display: Display
    total: int
    number: int = 0

    def done(self, name: str, work: _Work, unit: str = "") -> Artefact:
        self.number += 1
        self.display.stage_started(self.number, name, self.total)
        made = work(self.display.progress)
        manifest = made.manifest
        self.display.stage_finished(name, manifest.rows, manifest.outcomes, manifest.seconds, unit)
        return made
