"""Rules and a judge against the oracle on the replies of a finished run, in a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from solon.config.builtin import refusal_questions_path
from solon.config.model_spec import ModelSpec
from solon.config.recipe import JUDGE_GRADER, NO_GRADER, EngineSettings
from solon.digest import digest_source, seed_for
from solon.engines import rounding
from solon.engines.cached import CachedEngine
from solon.engines.registry import identity_of, open_engine
from solon.engines.rounding import keyed, made_with
from solon.errors import RunError
from solon.evals.judged_answers import JUDGEMENTS
from solon.evals.rater_agreement import agreement_rows, rater_agreements
from solon.evals.refusal_questions import read_refusal_questions
from solon.evals.reply_judge import ReplyJudge
from solon.feedback.soft_labels import Judge
from solon.http.request_flow import RequestFlow
from solon.pipeline.served_flow import send_through
from solon.runs import Artefact, Report, RunDirectory, StageFolder, ignore
from solon.runs.evaluation_rows import AnswerRow, ReplyJudgement
from solon.runs.refusal_rows import AgreementFacts, AgreementRow
from solon.runs.response_cache import response_cache_in
from solon.runs.standalone_stage import run_standalone
from solon.runs.table import write_table
from solon.stages.plan import MEASURE

NAME = "agreement"
CODE = 1
"""The version of this module; raise it with every change that gives other rows for the same replies."""


@dataclass(frozen=True, slots=True)
class ToCompare:
    """A run with a grader that knows the truth, the judge, if any, and what it is asked."""

    run: RunDirectory
    judge: ModelSpec | None = None
    questions: str = "refusals"


def compare_with_oracle(
    folder: Path, given: ToCompare, settings: EngineSettings | None = None, report: Report = ignore
) -> Artefact:
    """Compare in `folder`, or go on.

    Raises RunError for a run that is not measured, or whose grader does not know the truth.
    """
    settings = settings or given.run.recipe.engine
    measured = _measured(given.run)
    seed = given.run.recipe.seed
    key: dict[str, object] = {
        "seed": seed,
        "engine": keyed(settings),
        "code": {"agreement": CODE, "asking": rounding.CODE},
        "replies": measured.hash,
        "judge": None if given.judge is None else identity_of(given.judge),
        "questions": None if given.judge is None else digest_source(refusal_questions_path(given.questions)),
    }
    work = partial(_compare, given, measured, settings)
    return run_standalone(folder, NAME, key, work, report, made_with(settings))


def _compare(given: ToCompare, measured: Artefact, settings: EngineSettings, out: StageFolder) -> Artefact:
    answers = measured.rows(AnswerRow)
    judgements, name = _judged(given, answers, settings, out)
    rows = agreement_rows(answers, judgements)
    seed = seed_for(given.run.recipe.seed, "agreement bootstrap")
    raters = rater_agreements(rows, seed, judged=given.judge is not None)
    facts = AgreementFacts(run=given.run.path.resolve().name, judge=name, raters=tuple(raters))
    files = []
    if given.judge is not None:
        write_table(out.path / JUDGEMENTS, judgements, ReplyJudgement)
        files.append(JUDGEMENTS)
    return out.publish(rows, AgreementRow, facts=facts.record(), files=files)


def _judged(
    given: ToCompare, answers: list[AnswerRow], settings: EngineSettings, out: StageFolder
) -> tuple[list[ReplyJudgement], str | None]:
    """What the judge says about all replies, model by model, and its name."""
    if given.judge is None:
        return [], None
    questions, identity = read_refusal_questions(given.questions), identity_of(given.judge)
    found: list[ReplyJudgement] = []
    flow = RequestFlow()
    send_through(flow, out, [given.judge])
    with response_cache_in(out.path) as cache:
        engine = CachedEngine(open_engine(given.judge, settings, flow=flow), identity, NAME, cache, settings)
        asks = ReplyJudge(Judge.of(engine), questions, given.run.recipe.seed)
        for name in dict.fromkeys(row.model for row in answers):
            own = [row for row in answers if row.model == name]
            phase = f"questions about {name}"
            found += out.map(
                phase,
                own,
                asks.judgements,
                row=ReplyJudgement,
                chunk=questions.replies_in(settings.batch_size),
                unit=f"replies of {name} judged",
            )
    return found, engine.name


def _measured(run: RunDirectory) -> Artefact:
    """The measured replies of a run, which its grader labelled."""
    grader = run.recipe.measure.grader
    if grader in (NO_GRADER, JUDGE_GRADER):
        raise RunError(
            f"the run's grader is '{grader}', and not one that knows the truth",
            place=str(run.path),
            remedy="Name a run on the testbed, such as that of `solon demo`",
        )
    measured = run.finished(MEASURE)
    if measured is None:
        raise RunError(
            "the run's models are not measured yet", place=str(run.path), remedy=f"Continue with: solon run {run.path}"
        )
    return measured
