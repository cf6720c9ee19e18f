"""The absolute harmfulness score outside any run: a model of ratings in a folder, and scores of models in another.

Both folders are stages of their own, with keys and resuming as in a run. Every answer of a measured model is kept chunk
by chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from solon.config.model_spec import FOLDER, ModelSpec, located
from solon.config.recipe import Recipe, SamplingParams
from solon.conversation import Conversation
from solon.digest import digest, digest_source
from solon.engines import rounding
from solon.engines.base import Engine
from solon.engines.registry import identity_of, open_engine
from solon.engines.rounding import keyed, made_with
from solon.errors import InputError, RunError
from solon.evals.harmfulness import absolute_score, rating_model
from solon.evals.harmfulness.absolute_score import AbsoluteScoreInputs, drawn_prompts, measure_harmfulness
from solon.evals.harmfulness.harmfulness_scorer import HarmfulnessScorer, rating_mean_in
from solon.evals.harmfulness.rating_model import RatingInputs, train_rating_model
from solon.http.spending import Ledger
from solon.pipeline.run_models import folder_of_run
from solon.reward.scorer import model_folder_in
from solon.runs import Artefact, Report, ignore
from solon.runs.facts import read_facts
from solon.runs.harmfulness_rows import HarmfulnessFacts, RatingFigures
from solon.runs.standalone_stage import run_standalone
from solon.sources.entries import located as source_located
from solon.sources.prompt_files import read_prompts
from solon.sources.prompt_sources import SPLIT, names_in
from solon.sources.rated_conversations import HELD_OUT, read_ratings, without_prompts_of
from solon.training import loop as training

TRAINED, MEASURED = "harmfulness", "absolute-harmfulness"
PROMPTS = 64
"""Held-out prompts of the paper's figure 10."""


@dataclass(frozen=True, slots=True)
class RatingSources:
    """The model to grow from, files of ratings, and a file of ratings that are only predicted.

    Conversations of the former with a prompt of the latter are left out.
    """

    base: Path
    files: tuple[Path, ...]
    held_out: Path | None = None
    columns: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ToScore:
    """The models by name, the folder of the model of ratings, the source of prompts, and how replies are drawn."""

    models: Mapping[str, ModelSpec]
    scorer: Path
    prompts: str
    limit: int = PROMPTS
    samples: int = 16
    temperatures: tuple[float, ...] = (1.0,)
    max_tokens: int = 256


def train_harmfulness(folder: Path, recipe: Recipe, sources: RatingSources, report: Report = ignore) -> Artefact:
    """Train in `folder`, or go on; of the recipe `seed`, `engine` and `preference.training` count.

    Raises what `read_ratings` and the training raise, and RunError for a folder that was begun with something else.
    """
    settings = recipe.preference.training
    # Read before the folder is made, so that a faulty file leaves none behind.
    rated = read_ratings(sources.files, sources.columns)
    held_out = None if sources.held_out is None else read_ratings([sources.held_out], sources.columns)
    # A prompt that is held out is never learned from, whichever file it stands in.
    rated = rated if held_out is None else without_prompts_of(rated, held_out)
    left_out = rated.skipped.get(HELD_OUT, 0)
    inputs = RatingInputs(recipe.seed, sources.base, recipe.engine, rated, held_out)
    key: dict[str, object] = {
        "settings": settings.model_dump(mode="json"),
        "seed": recipe.seed,
        "engine": keyed(recipe.engine),
        "code": {"harmfulness": rating_model.CODE, "asking": rounding.CODE, "training": training.CODE},
        "base": digest_source(sources.base),
        "ratings": [digest_source(file) for file in sources.files],
        "held_out": None if sources.held_out is None else digest_source(sources.held_out),
        **({"columns": dict(sources.columns)} if sources.columns else {}),
        **({"left_out": left_out} if left_out else {}),
    }
    work = partial(train_rating_model, settings, inputs)
    return run_standalone(folder, TRAINED, key, work, report, made_with(recipe.engine))


def score_harmfulness(folder: Path, recipe: Recipe, given: ToScore, report: Report = ignore) -> Artefact:
    """Score the models in `folder`, or go on; of the recipe `seed` and `engine` count.

    Raises InputError for the prompts, ModelError for a model or the scorer, and RunError for a folder that was begun
    with something else.
    """
    scorer = model_folder_in(given.scorer)
    rating_mean_in(scorer)  # before any reply is written: another kind of model would lose them all
    prompts = _prompts(given, recipe.seed)
    sampling = SamplingParams(max_tokens=given.max_tokens)
    key: dict[str, object] = {
        "seed": recipe.seed,
        "engine": keyed(recipe.engine),
        "code": {"score": absolute_score.CODE, "asking": rounding.CODE},
        "prompts": digest([prompt.row_id for prompt in prompts]),
        "models": {name: identity_of(spec) for name, spec in given.models.items()},
        "scorer": digest_source(scorer),
        "samples": given.samples,
        "temperatures": list(given.temperatures),
        "max_tokens": given.max_tokens,
    }

    spent = Ledger()  # one budget for all models of the command

    def engine(spec: ModelSpec) -> Callable[[], Engine]:
        return lambda: open_engine(spec, recipe.engine, spent)

    inputs = AbsoluteScoreInputs(
        recipe.seed,
        prompts,
        {name: engine(spec) for name, spec in given.models.items()},
        lambda: HarmfulnessScorer.load(scorer, recipe.engine),
        given.samples,
        given.temperatures,
        sampling,
        calibration_beside(scorer),
        recipe.engine.batch_size,
    )
    work = partial(measure_harmfulness, inputs)
    return run_standalone(folder, MEASURED, key, work, report, made_with(recipe.engine))


def models_by_name(given: Sequence[str]) -> dict[str, ModelSpec]:
    """The models of a command line by a short name: a model folder, a stage's folder, or a built-in model.

    A model of a run (`RUN:rl-cai`) keeps its whole name. Raises ModelError for one that does not exist, and RunError
    for one that is given twice, or that its run does not have.
    """
    found: dict[str, ModelSpec] = {}
    for text in given:
        of_run = folder_of_run(text)
        spec = ModelSpec.parse(text if of_run is None else of_run)
        if spec.scheme == FOLDER and (inside := Path(spec.name) / "model").joinpath("config.json").is_file():
            spec = ModelSpec(FOLDER, str(inside))
        spec = located(spec)
        if spec in found.values():
            raise RunError("the model is given twice", place=text, remedy="Name each model once")
        parts = Path(spec.name).resolve().parts
        short = text if of_run is not None else parts[-2] if parts[-1] == "model" and len(parts) > 1 else parts[-1]
        found[text if short in found else short] = spec
    return found


def calibration_beside(scorer: Path) -> RatingFigures | None:
    """The figures of a scorer's training, where its model folder is in that stage's folder."""
    artefact = Artefact.open(scorer.parent) if scorer.name == "model" else None
    if artefact is None or artefact.name != TRAINED:
        return None
    return read_facts(HarmfulnessFacts, artefact.facts, str(artefact.path)).calibration


def _prompts(given: ToScore, seed: int) -> list[Conversation]:
    if given.prompts.split(":")[0] == SPLIT:
        raise InputError(
            "the recipe holds out a part of a run's prompts, and here there is no run",
            place=given.prompts,
            remedy="Name held-out prompts: --prompts FILE",
        )
    read = (read_prompts(source_located(name)) for name in names_in(given.prompts))
    return drawn_prompts((each.conversation for file in read for each in file.prompts), given.limit, seed)
