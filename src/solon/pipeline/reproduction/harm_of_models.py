"""The absolute harmfulness score of every model (figure 10), learned from the oracle's ratings of written replies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from solon.config.builtin import model_path
from solon.config.model_spec import ModelSpec, located
from solon.config.recipe import Recipe
from solon.pipeline.reproduction.paper_models import PaperModel
from solon.pipeline.standalone_harmfulness import RatingSources, ToScore, score_harmfulness, train_harmfulness
from solon.runs import Artefact, Report
from solon.testbed.rated_attempts import write_attempts, written_attempts
from solon.testbed.world import load_world

RATINGS, HELD_OUT = "ratings.jsonl", "ratings-held-out.jsonl"
TEMPERATURE = 1.0
"""The paper always samples at 1."""


@dataclass(frozen=True, slots=True)
class HarmToMeasure:
    """How many ratings are learned from, and how many replies to how many prompts are scored."""

    ratings: int
    prompts: int
    samples: int


def train_on_oracle(folder: Path, recipe: Recipe, amount: HarmToMeasure, report: Report) -> Artefact:
    """The model of ratings; the files of ratings stand in `folder` beside it, and are written once."""
    files = {False: folder / RATINGS, True: folder / HELD_OUT}
    world = load_world()
    folder.mkdir(parents=True, exist_ok=True)
    for held_out, file in files.items():
        if not file.exists():
            count = amount.ratings if not held_out else max(1, amount.ratings // 5)
            write_attempts(file, written_attempts(world, count, recipe.seed, held_out=held_out), "written")
    sources = RatingSources(model_path(recipe.models.pretrained), (files[False],), files[True])
    return train_harmfulness(folder / "model-of-ratings", recipe, sources, report)


def score_models(
    folder: Path, recipe: Recipe, models: Sequence[PaperModel], scorer: Artefact, amount: HarmToMeasure, report: Report
) -> Artefact:
    """Score the replies of all models to the held-out red-team prompts, in `folder`, or go on."""
    given = ToScore(
        {model.name: located(ModelSpec.parse(str(model.folder))) for model in models},
        scorer.path,
        recipe.measure.harmful,
        amount.prompts,
        amount.samples,
        (TEMPERATURE,),
        recipe.measure.sampling.max_tokens,
    )
    return score_harmfulness(folder, recipe, given, report)
