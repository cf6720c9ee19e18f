"""The whole reproduction in a folder: runs, then measurements, then the figures with their verdicts.

    OUT/
        reproduction.json      size and settings; another reproduction is refused
        runs/NAME/             the planned runs, ordinary run directories
        votes/                 the oracle's votes on all models
        revision-scores/       every revision, scored
        judge-answers/         every judge's answers
        harmfulness/           ratings, the model of ratings, and the scores of all models
        results.json           every figure: claim, checks, intervals, verdicts, points

Every part is resumable and keyed: a finished one is read, an interrupted one goes on, and one that was made from other
inputs is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from solon.comparisons.elo_ratings import EloSettings
from solon.comparisons.vote_rows import RatedVote
from solon.config.recipe import TESTBED_GRADER, Algorithm
from solon.errors import RecipeError, RunError
from solon.pipeline.reproduction.asked_comparisons import ANSWERED, JudgesToAsk, ask_judges
from solon.pipeline.reproduction.elo_figures import Courses, EloFindings, figure_2, figure_3, figure_8
from solon.pipeline.reproduction.harm_figure import HarmFindings, figure_10
from solon.pipeline.reproduction.harm_of_models import HarmToMeasure, score_models, train_on_oracle
from solon.pipeline.reproduction.judge_figures import JudgeFindings, figure_4, figure_9, figure_12
from solon.pipeline.reproduction.oracle_votes import cast_votes
from solon.pipeline.reproduction.paper_figures import PaperFigure
from solon.pipeline.reproduction.paper_models import (
    ASSISTANT,
    PRETRAINED,
    PaperModel,
    check_runs,
    course_of,
    do_runs,
    models_of,
    replies_of,
    stage_minutes,
)
from solon.pipeline.reproduction.paper_runs import (
    DIRECT,
    HARMLESSNESS_PM,
    HH,
    NUMBERS_OF_PRINCIPLES,
    POLICY_RUNS,
    RL_CAI_COT,
    PlannedRun,
    ReproductionSize,
    planned_runs,
    principles_name,
    recipe_of,
    revisions_of,
    sl_cai_name,
)
from solon.pipeline.reproduction.real_judges import RealJudge
from solon.pipeline.reproduction.revision_figures import RevisionFindings, figure_5, figure_6, figure_7
from solon.pipeline.reproduction.revision_scores import SCORED, score_revisions
from solon.runs import Artefact, Report, RunDirectory
from solon.runs.files import write_atomically
from solon.runs.harmfulness_rows import HarmfulnessRow
from solon.runs.progress import Display
from solon.runs.reproduction_rows import JudgeAnswerRow, RevisionScoreRow

CLAIMED, RESULTS = "reproduction.json", "results.json"
VOTES, HARM = "votes", "harmfulness"


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What is reproduced: the size, the user's settings, and results of real judges, which nothing else depends on."""

    size: ReproductionSize
    settings: tuple[str, ...] = ()
    real: tuple[RealJudge, ...] = ()


@dataclass(frozen=True, slots=True)
class ReproductionResults:
    """Everything that `results.json` holds."""

    size: str
    settings: tuple[str, ...]
    figures: tuple[PaperFigure, ...]
    replies: Mapping[str, Mapping[str, Any]]
    """The oracle's measures of the replies of every final model to held-out prompts."""
    votes: int
    warnings: tuple[str, ...]
    minutes: Mapping[str, float]
    """Of the stages by run and measurement; what was taken from another run is not counted again. Votes are not."""


@dataclass(frozen=True, slots=True)
class PaperMeasurements:
    """All that the figures are computed from."""

    votes: Sequence[RatedVote]
    revisions: Sequence[RevisionScoreRow]
    answers: Sequence[JudgeAnswerRow]
    harm: Sequence[HarmfulnessRow]
    courses: Courses
    supervised: str
    principles: int


def reproduce(given: Reproduction, folder: Path, display: Display) -> ReproductionResults:
    """Do what is left of runs and measurements below `folder`, and compute all figures, also in `results.json`.

    Raises RunError when the folder holds something else, RecipeError for a bad setting, and what stages raise.
    """
    runs = planned_runs(revisions_of(given.size, given.settings))
    _refuse_unmeasurable(runs, given)
    for note in check_runs(runs, given.size, given.settings, folder):
        display.remark(note)
    _claim(folder, given)
    done = do_runs(runs, given.size, given.settings, folder, display)
    found, minutes = _measured(given, folder, done, display)
    elo = EloSettings(PRETRAINED, replicates=given.size.replicates)
    figures, warnings = figures_of_paper(found, elo, given.real)
    results = ReproductionResults(
        given.size.name,
        given.settings,
        figures,
        replies_of(done),
        len(found.votes),
        warnings,
        stage_minutes(done) | minutes,
    )
    write_atomically(folder / RESULTS, json.dumps(asdict(results), indent=1) + "\n")
    return results


def figures_of_paper(
    found: PaperMeasurements, elo: EloSettings, real: Sequence[RealJudge]
) -> tuple[tuple[PaperFigure, ...], tuple[str, ...]]:
    """Every figure in the paper's order, and what the ratings do not support; a pure function of the measurements."""
    votes = EloFindings.of(found.votes, found.courses, found.supervised, elo)
    revisions = RevisionFindings.of(found.revisions, found.principles)
    judges = JudgeFindings.of(found.answers, real, elo.replicates, elo.seed)
    figures = (
        figure_2(votes),
        figure_3(votes),
        figure_4(judges),
        figure_5(revisions),
        figure_6(revisions),
        figure_7(revisions),
        figure_8(votes),
        figure_9(judges),
        figure_10(HarmFindings.of(found.harm, found.courses)),
        figure_12(judges),
    )
    return figures, tuple(votes.warnings())


def _measured(
    given: Reproduction, folder: Path, runs: Mapping[str, RunDirectory], display: Display
) -> tuple[PaperMeasurements, dict[str, float]]:
    """Every measurement, those that are missing done now, and the minutes of each."""
    size, whole = given.size, runs[RL_CAI_COT]
    recipe, models = whole.recipe, models_of(runs)
    revised = [RL_CAI_COT, DIRECT, *(principles_name(n) for n in NUMBERS_OF_PRINCIPLES)]
    amount = HarmToMeasure(size.ratings, size.prompts, size.samples)
    judges = JudgesToAsk(
        {each.name: each.folder for each in models if each.name in (PRETRAINED, ASSISTANT)},
        {name: runs[name] for name in (HH, RL_CAI_COT)},
        size.questions,
        size.reasonings,
    )
    steps = _ShownSteps(display, 5)
    scores = steps.do(SCORED, lambda report: score_revisions(
        folder / SCORED, {name: runs[name] for name in revised}, runs[HARMLESSNESS_PM], report))  # fmt: skip
    answers = steps.do(
        ANSWERED, lambda report: ask_judges(folder / ANSWERED, recipe, whole.constitution, judges, report)
    )
    scorer = steps.do("model-of-ratings", lambda report: train_on_oracle(folder / HARM, recipe, amount, report))
    harm = steps.do(HARM, lambda report: score_models(
        folder / HARM / "scores", recipe, models, scorer, amount, report))  # fmt: skip
    steps.begin(VOTES)
    votes = cast_votes(folder / VOTES, recipe, models, size.conversations, display.progress)
    found = PaperMeasurements(
        votes,
        scores.rows(RevisionScoreRow),
        answers.rows(JudgeAnswerRow),
        harm.rows(HarmfulnessRow),
        _courses(runs, models),
        sl_cai_name(recipe.revision.steps),
        recipe.revision.number_of_principles or len(recipe.revision.principles or whole.constitution.revision),
    )
    return found, steps.minutes


def _refuse_unmeasurable(runs: Sequence[PlannedRun], given: Reproduction) -> None:
    """Raise RecipeError, before anything is made, for settings with which a figure could not be measured."""
    for run in runs:
        recipe = recipe_of(run, given.size, given.settings)
        if recipe.measure.grader != TESTBED_GRADER:
            cause = "the reproduction needs the testbed's grader"
            raise RecipeError(cause, place="measure.grader", remedy="Leave measure.grader as it is")
        if run.name in POLICY_RUNS and (recipe.rl.snapshots is None or recipe.rl.algorithm is Algorithm.DPO):
            cause = "the reproduction follows policies over their snapshots, and with these settings there are none"
            raise RecipeError(cause, place="rl", remedy="Use PPO or RLOO and --set rl.snapshots=9")


def _courses(runs: Mapping[str, RunDirectory], models: Sequence[PaperModel]) -> Courses:
    found = {
        name: course_of(name, models, runs[name].recipe.revision.steps, runs[name].recipe.method)
        for name in POLICY_RUNS
    }
    if short := [name for name, course in found.items() if len(course) < 2]:
        raise RunError(
            "no snapshots of the policy were kept", place=short[0], remedy="Use a new folder with --set rl.snapshots=9"
        )
    return found


class _ShownSteps:
    """Shows the measurements one after the other, and keeps their minutes."""

    def __init__(self, display: Display, total: int) -> None:
        self.display, self.total, self.number = display, total, 0
        self.minutes: dict[str, float] = {}

    def begin(self, name: str) -> None:
        self.number += 1
        self.display.stage_started(self.number, name, self.total)

    def do(self, name: str, work: Callable[[Report], Artefact]) -> Artefact:
        self.begin(name)
        manifest = (done := work(self.display.progress)).manifest
        self.minutes[name] = manifest.seconds / 60
        self.display.stage_finished(name, manifest.rows, manifest.outcomes, manifest.seconds)
        return done


def _claim(folder: Path, given: Reproduction) -> None:
    """Make the folder this reproduction's; raises RunError when it is another's or holds something else."""
    text = json.dumps({"size": asdict(given.size), "settings": list(given.settings)}, indent=1) + "\n"
    file = folder / CLAIMED
    if file.exists():
        if file.read_text(encoding="utf-8") != text:
            remedy = "Name a new folder with --out"
            raise RunError("the folder holds a reproduction of another size", place=str(file), remedy=remedy)
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError("the folder is not empty", place=str(folder), remedy="Name a new folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(file, text)
