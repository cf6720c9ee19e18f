"""A model evaluated on files of questions: what is asked, and how the model is opened.

`solon.evaluate` and `solon eval` describe an evaluation by its files and its settings; here these become tasks and a
subject for `solon.evals.benchmarks.evaluation`. Files are read, and settings checked, before a model is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solon.config.builtin import constitution_path
from solon.config.model_spec import ModelSpec, folder_of
from solon.config.ray_cluster import RayCluster
from solon.config.recipe import EngineSettings, OptionOrder, SamplingParams
from solon.constitution.reader import load_constitution
from solon.engines.cluster.ray_place import place_of
from solon.engines.engine_place import EnginePlace
from solon.engines.registry import name_of
from solon.engines.rounding import keyed
from solon.evals.benchmarks.evaluation import (
    RESULTS,
    AnswersAs,
    EvaluationPlan,
    Subject,
    Task,
    drawn,
    evaluate,
    formulation_of,
)
from solon.evals.benchmarks.multiple_choice import Form, QuestionSetup
from solon.evals.benchmarks.pm_answers import scores_of
from solon.evals.benchmarks.question_files import read_questions
from solon.model_folders.folder_check import check_folder
from solon.runs.progress import Display, Silent


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """How questions are put to a model."""

    forms: tuple[Form, ...] = (Form.LETTER,)
    answers_as: AnswersAs | None = None
    """By the folder when None: a sequence classifier scores, any other model chooses."""
    order: OptionOrder = OptionOrder.BOTH
    """All rotations of the options, which removes letter bias, or one, drawn for each question."""
    samples: int = 5
    """Chains of thought that are averaged, in the reasoned form."""
    max_tokens: int = 256
    """Tokens of a chain of thought, at most."""
    examples: int = 4
    """Worked examples."""
    constitution: str | Path = "harmlessness"
    """The constitution with the worked comparisons that are shown."""
    seed: int = 0
    limit: int | None = None
    """Questions of each file, at most, drawn; all when None."""
    bad_rows: int = 0
    """Rows of a file that may be unreadable."""
    engine: EngineSettings = field(default_factory=lambda: EngineSettings(batch_size=32))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of everything that is finished in an evaluation folder."""

    path: Path
    figures: dict[str, Any]
    """`{"model": NAME, "evaluations": [FIGURES, ...]}`, as in results.json."""

    @property
    def results_file(self) -> Path:
        """The JSON file that holds the figures."""
        return self.path / RESULTS

    def accuracy(self, evaluation: str, form: str = Form.LETTER) -> float:
        """The share of questions answered right; raises KeyError for an evaluation that is not there."""
        for each in self.figures["evaluations"]:
            if (each["evaluation"], each["form"]) == (evaluation, str(form)):
                return float(each["accuracy"]["value"])
        raise KeyError((evaluation, str(form)))


def evaluation_tasks(model: ModelSpec, files: Sequence[Path], settings: EvaluationSettings) -> list[Task]:
    """Every file in every form, for a model.

    Raises InputError for files that are missing, malformed or not for such a model, and ModelError for the model.
    """
    manner = QuestionSetup(
        order=settings.order,
        samples=settings.samples,
        sampling=SamplingParams(max_tokens=settings.max_tokens),
        seed=settings.seed,
    )
    plan = EvaluationPlan(
        [drawn(read_questions(path, bad_rows=settings.bad_rows), settings.limit, settings.seed) for path in files],
        list(settings.forms),
        manner,
        settings.examples,
        load_constitution(constitution_path(settings.constitution)),
    )
    return plan.tasks(settings.answers_as or formulation_of(folder_of(model)))


def evaluate_model(
    model: ModelSpec,
    files: Sequence[Path],
    settings: EvaluationSettings,
    out: Path | None = None,
    display: Display | None = None,
    on: RayCluster | None = None,
) -> Evaluation:
    """Answer what is not yet answered, in `out` or in runs/evals/MODEL, on the cluster `on`, or here when None.

    Raises what `evaluate` and `place_of` raise.
    """
    tasks = evaluation_tasks(model, files, settings)
    with place_of(on, settings.engine) as place:
        subject = _subject(model, settings.answers_as or formulation_of(folder_of(model)), settings.engine, place)
        folder = out or Path("runs", "evals", re.sub(r"[^\w.-]+", "-", subject.name))
        return Evaluation(folder, evaluate(folder, subject, tasks, display or Silent()))


def _subject(model: ModelSpec, answers_as: AnswersAs, settings: EngineSettings, place: EnginePlace) -> Subject:
    folder = folder_of(model)
    if folder is not None:
        check_folder(folder)
    return Subject(
        name_of(model),
        answers_as,
        load_engine=lambda: place.open(model, settings),
        load_scores=None if folder is None else lambda: scores_of(folder, settings),
        settings=keyed(settings),
        executor=place.executor,
    )
