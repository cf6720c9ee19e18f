"""Ablation files: a question, variants of a recipe, and the measure to compare them by.

    name: critique-or-direct
    question: Are critiques needed?
    measure: revisions
    variants:
      - name: direct
        settings: {revision.mode: direct}

The whole file is checked before anything runs: every error names `file:line`, and every variant's recipe is resolved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from solon.config.builtin import ablation_path
from solon.config.loading import load_recipe
from solon.config.located_yaml import YamlFile, group_name
from solon.config.recipe import JUDGE_GRADER, NO_GRADER, Count, Recipe, Settings
from solon.config.validation import validated
from solon.errors import RecipeError

FolderName = Annotated[str, Field(pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$", max_length=60)]
"""Lower-case words with hyphens, because variants become folders."""


class AblationMeasure(StrEnum):
    """The outputs of each variant that are graded."""

    REVISIONS = "revisions"
    """The replies to red-team prompts after each revision; nothing is trained."""
    SL_CAI = "sl-cai"
    """The replies of the SL-CAI model to held-out prompts."""
    PREFERENCE_MODEL = "preference-model"
    """The preference model's order of replies to held-out prompts."""
    MODELS = "models"
    """The replies of every model of a whole run to held-out prompts."""


class LabelledBy(StrEnum):
    """The labeller of a variant's pairs."""

    MODEL = "model"
    """The feedback model, as in any run."""
    ORACLE = "oracle"
    """The testbed's oracle, as a reference."""


class Variant(Settings):
    """A variant of the recipe: settings by dotted name that replace those of the recipe."""

    name: FolderName
    settings: Mapping[str, Any] = Field(default_factory=dict)
    labelled_by: LabelledBy = LabelledBy.MODEL


class Experiment(Settings):
    """An ablation."""

    name: FolderName
    question: str
    measure: AblationMeasure
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]
    seeds: tuple[Count, ...] = ()
    """Every variant runs once with each seed; without seeds, with the recipe's own."""

    @field_validator("variants")
    @classmethod
    def _refuse_equal_names(cls, variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
        names = [variant.name for variant in variants]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two variants are named '{twice}'")
        return variants


def load_experiment(name: str | Path) -> Experiment:
    """The ablation of a file or built-in name; raises RecipeError with `file:line` of the first fault."""
    source = YamlFile(ablation_path(name), RecipeError)
    return validated(Experiment, *source.read(lambda location: group_name(location) if location else "the ablation"))


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of an experiment: its variant, seed and resolved recipe; `folder` is the name of its run directory."""

    variant: Variant
    seed: int
    recipe: Recipe
    folder: str


def trials_of(
    experiment: Experiment, recipe: str | Path, overlays: Sequence[str | Path] = (), settings: Sequence[str] = ()
) -> list[Trial]:
    """The runs of an experiment, all variants with one seed before those with the next.

    The settings of the variant have precedence. Raises RecipeError for an unknown or bad setting, when there is no
    grader, and when variants have different ones.
    """
    found = []
    for seed in experiment.seeds or (None,):
        for variant in experiment.variants:
            varied = [f"{key}={json.dumps(value)}" for key, value in variant.settings.items()]
            seeded = [] if seed is None else [f"seed={seed}"]
            resolved = load_recipe(recipe, overlays, [*settings, *seeded, *varied])
            folder = variant.name if seed is None else f"{variant.name}-seed-{seed}"
            found.append(Trial(variant, resolved.seed, resolved, folder))
    if any(each.recipe.measure.grader in (NO_GRADER, JUDGE_GRADER) for each in found):
        raise RecipeError("an ablation needs a grader", place="measure.grader", remedy="Use --recipe testbed")
    if len(graders := sorted({each.recipe.measure.grader for each in found})) > 1:
        cause = f"the variants have different graders ({', '.join(graders)}), and their labels do not compare"
        raise RecipeError(cause, place="measure.grader", remedy="Give all variants the same grader")
    return found
