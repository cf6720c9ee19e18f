"""Labels for a file of pairs, outside any run: the stage ai-feedback in a folder of its own.

    OUT/
        recipe.yaml, constitution.yaml     what the labels were made by
        answers.sqlite                     every answer of the judges, so that none is asked twice
        rows.parquet, manifest.json        the labels, once all are there

Settings, keys and resuming are those of a run. `solon preference --labels OUT` learns from it as from a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from solon.config.loading import dump_recipe
from solon.config.model_spec import ModelSpec
from solon.config.recipe import EngineSettings, Recipe
from solon.constitution.reader import load_constitution
from solon.digest import digest_source
from solon.engines import rounding
from solon.engines.base import Engine
from solon.engines.cached import CachedEngine
from solon.engines.registry import identity_of, joined, open_engine
from solon.engines.rounding import keyed, made_with
from solon.evals.judge_check.judge import CheckJudge
from solon.http.request_flow import RequestFlow
from solon.http.spending import Ledger
from solon.pipeline.served_flow import send_through
from solon.runs import Artefact, Report, StageFolder, ignore
from solon.runs.executor import Executor, InProcess
from solon.runs.files import write_atomically
from solon.runs.response_cache import ResponseCache, response_cache_in
from solon.runs.rows import LabelRow
from solon.runs.standalone_stage import run_standalone
from solon.sources.pair_files import PairFile, read_pairs
from solon.stages.s06_ai_feedback import AiFeedback, FeedbackInputs, run
from solon.testbed.judge_questions import questions_asked

NAME = "ai-feedback"
LoadModel = Callable[[ModelSpec, EngineSettings], Engine]


@dataclass(frozen=True, slots=True)
class ToLabel:
    """The file of pairs, the constitution's file, the judges, and how they are measured, if at all.

    `load` opens the judges, and `executor` works on the chunks. `columns` is what the file of pairs calls columns.
    """

    pairs: Path
    constitution: Path
    judges: tuple[ModelSpec, ...]
    assess: CheckJudge | None = None
    load: LoadModel = open_engine
    columns: Mapping[str, str] | None = None
    executor: Executor = field(default_factory=InProcess)
    made_with: Mapping[str, object] = field(default_factory=dict)
    """What changes only rounding where the judges are loaded, if that is not this process."""


def label_standalone(folder: Path, recipe: Recipe, given: ToLabel, report: Report = ignore) -> Artefact:
    """Label in `folder`, or go on; of the recipe `seed`, `engine` and `feedback` count.

    Raises what `read_pairs`, the constitution's reader and the stage raise, and RunError for a folder that was begun
    with something else.
    """
    constitution = load_constitution(given.constitution)
    pairs = read_pairs(given.pairs, given.columns)
    hashes = {judge: identity_of(judge) for judge in given.judges}
    key: dict[str, object] = {
        "settings": recipe.feedback.model_dump(mode="json"),
        "seed": recipe.seed,
        "engine": keyed(recipe.engine),
        "code": {"stage": AiFeedback.code, "asking": rounding.CODE},
        "judge_check": {"limit": recipe.judge_check.limit, "grader": questions_asked(recipe)},
        "pairs": digest_source(given.pairs),
        "constitution": constitution.hash,
        "judges": list(hashes.values()),
        **({"columns": dict(given.columns)} if given.columns else {}),
    }
    inputs = FeedbackInputs(recipe.seed, constitution, pairs, recipe.engine.batch_size, given.assess)

    def work(out: StageFolder) -> Artefact:
        write_atomically(out.path / "recipe.yaml", dump_recipe(recipe))
        write_atomically(out.path / "constitution.yaml", given.constitution.read_text(encoding="utf-8"))
        out.executor = given.executor
        flow, spent = RequestFlow(), Ledger()
        send_through(flow, out, given.judges)

        def load(model: ModelSpec, settings: EngineSettings) -> Engine:
            return joined(given.load(model, settings), flow, spent)

        with response_cache_in(out.path) as answers:
            judges = [partial(_judge, each, hashes[each], recipe.engine, answers, load) for each in given.judges]
            return run(recipe.feedback, inputs, judges, out)

    return run_standalone(folder, NAME, key, work, report, {**made_with(recipe.engine), **given.made_with})


def agreement(labels: Sequence[LabelRow], pairs: PairFile) -> tuple[int, int]:
    """On how many labelled pairs the label sides with the file's own choice, and how many of them there are.

    A label of exactly one half sides with nobody.
    """
    known = [row.p_a for row in labels if row.p_a is not None and (row.row_id, row.pair) in pairs.preferred]
    return sum(p_a > 0.5 for p_a in known), len(known)


def _judge(
    model: ModelSpec, identity: str, settings: EngineSettings, answers: ResponseCache, load: LoadModel
) -> Engine:
    return CachedEngine(load(model, settings), identity, NAME, answers, settings)
