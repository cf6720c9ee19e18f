"""Scores every revision of several runs (figures 5, 6 and 7): by a preference model, and by the oracle.

The paper scores revisions by a preference model of human harmlessness comparisons. Scores of one model compare within
the reproduction only. Texts that a run did not accept have no row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from solon.conversation import Conversation
from solon.engines.rounding import keyed, made_with
from solon.errors import RecipeError
from solon.evals.grading import Grader, Label
from solon.pipeline.graders import grader_of
from solon.pipeline.session import finished
from solon.reward.scorer import PreferenceScorer, open_scorer
from solon.runs import Artefact, Report, RunDirectory, StageFolder
from solon.runs.outcome import Outcome
from solon.runs.reproduction_rows import RevisionScoreRow
from solon.runs.rows import PromptKind, ReplyRow, RevisionRow
from solon.runs.standalone_stage import run_standalone
from solon.stages.plan import CRITIQUE_REVISION, PREFERENCE_MODEL, RESPONSES

SCORED = "revision-scores"
CODE = 1
"""The version of this module; raise it with every change that gives other rows for the same inputs."""


@dataclass(frozen=True, slots=True)
class _Revised:
    """A reply or revision to be scored."""

    run: str
    step: int
    row_id: str
    prompt: Conversation
    completion: str


def score_revisions(folder: Path, runs: Mapping[str, RunDirectory], scorer: RunDirectory, report: Report) -> Artefact:
    """Score the revisions of `runs` by the preference model of `scorer`, in `folder`, or go on.

    Raises RecipeError without a grader, and RunError for a folder that was begun with something else.
    """
    recipe = scorer.recipe
    grader = grader_of(recipe)
    if grader is None:
        raise RecipeError("the reproduction needs a grader", place="measure.grader", remedy="Leave it as it is")
    trained = finished(scorer, PREFERENCE_MODEL)
    key: dict[str, object] = {
        "code": CODE,
        "engine": keyed(recipe.engine),
        "scorer": trained.hash,
        "replies": {name: finished(run, RESPONSES).hash for name, run in runs.items()},
        "revisions": {name: finished(run, CRITIQUE_REVISION).hash for name, run in runs.items()},
    }

    def work(out: StageFolder) -> Artefact:
        opened = open_scorer(trained.path, recipe.engine)
        rows: list[RevisionScoreRow] = []
        for name, run in runs.items():
            revised = list(_revised(name, run))

            def scored(chunk: Sequence[_Revised]) -> list[RevisionScoreRow]:
                return _scored(chunk, opened, grader)

            rows += out.map(name, revised, scored, row=RevisionScoreRow, chunk=128, unit=f"revisions of {name}")
        return out.publish(rows, RevisionScoreRow)

    return run_standalone(folder, SCORED, key, work, report, made_with(recipe.engine))


def _revised(name: str, run: RunDirectory) -> Iterator[_Revised]:
    for reply in finished(run, RESPONSES).stream(ReplyRow):
        if reply.kind is PromptKind.RED_TEAM and reply.outcome is Outcome.OK:
            yield _Revised(name, 0, reply.row_id, reply.prompt, reply.completion)
    for row in finished(run, CRITIQUE_REVISION).stream(RevisionRow):
        if row.outcome is Outcome.OK:
            yield _Revised(name, row.step, row.row_id, row.prompt, row.completion)


def _scored(chunk: Sequence[_Revised], scorer: PreferenceScorer, grader: Grader) -> list[RevisionScoreRow]:
    scores = scorer.model.score([each.prompt.with_reply(each.completion) for each in chunk])
    return [
        RevisionScoreRow(
            run=each.run,
            step=each.step,
            row_id=each.row_id,
            score=float(score),
            harmful=Label.HARMFUL in grader.rate(each.prompt, each.completion),
        )
        for each, score in zip(chunk, scores, strict=True)
    ]
