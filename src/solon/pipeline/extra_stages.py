"""Stages beside those of a run: prompts that a model writes, measures for ablations, the snapshots of a policy.

Ablations measure runs that stop early. Each is a stage of its own in the run's folder, under its own key, so that the
run can still be gone on with; a run that reuses another takes these over as well. The caller of every function holds
the run's lock.
"""

from __future__ import annotations

from pathlib import Path

from solon.config.builtin import model_path
from solon.config.recipe import Method
from solon.errors import RecipeError, RunError
from solon.evals.results import (
    HELD_OUT_MODEL,
    HELD_OUT_PAIRS,
    PREFERENCE_MODEL,
    PREFERENCE_ORDER,
    PROMPTS,
    RED_TEAM,
    SL_CAI,
    SL_CAI_MEASURE,
    SNAPSHOTS,
    in_round,
    policies_of,
)
from solon.pipeline.order import Pipeline, grader_of
from solon.pipeline.session import Session
from solon.rl.policy_snapshots import SNAPSHOTS as SNAPSHOT_FOLDER
from solon.rl.policy_snapshots import snapshot_path
from solon.runs import Artefact, RunDirectory, StageFolder
from solon.runs.progress import Display
from solon.runs.rows import HELD_OUT_KINDS
from solon.stages import extra_preference_order, extra_red_team, extra_snapshots, s05_response_pairs, s09_measure

PAIRS_MEASURED = 4
"""Pairs of replies to each held-out prompt that preference models are compared on."""


def write_red_team(run: RunDirectory, display: Display) -> Artefact:
    """Have a model write red-team prompts like those of the run.

    The run's prompts are read first when that stage is not finished. Raises as `solon.pipeline.order.advance` does.
    """
    settings, models, seed = run.recipe.red_team, run.recipe.models, run.recipe.seed
    writer = model_path(models.red_team or models.pretrained)
    with run.answers() as answers:
        work = Pipeline(run, display, answers)
        asked = work.prompts()
        inputs = extra_red_team.RedTeamInputs(seed, asked, run.recipe.engine.batch_size)
        read = work.read(asked, writer=writer)
        return work.stage(
            RED_TEAM,
            settings,
            read,
            lambda out: extra_red_team.run(settings, inputs, work.engine(writer), out),
            code=extra_red_team.CODE,
        )


def measure_supervised(run: RunDirectory, display: Display) -> Artefact:
    """What SL-CAI alone replies to held-out prompts, rated; raises RunError when SL-CAI is not finished."""
    settings, grader = run.recipe.measure, grader_of(run.recipe)
    asked, supervised = finished(run, PROMPTS), finished(run, SL_CAI)
    inputs = s09_measure.MeasureInputs(run.recipe.seed, (SL_CAI,), asked, chunk=run.recipe.engine.batch_size)
    with run.answers() as answers:
        work = Session(run, display, answers)
        return work.stage(
            SL_CAI_MEASURE,
            settings,
            work.read(asked, supervised),
            lambda out: s09_measure.run(settings, inputs, lambda _: work.engine(supervised.model), out, grader),
            code=s09_measure.CODE,
        )


def measure_preferences(run: RunDirectory, display: Display) -> Artefact:
    """How well the preference model orders fresh replies of SL-CAI to held-out prompts.

    Raises RunError when that model is not finished, and RecipeError when nobody knows which reply is better.
    """
    grader, asked, preferences = grader_of(run.recipe), finished(run, PROMPTS), finished(run, PREFERENCE_MODEL)
    if grader is None:
        cause = "nobody knows which reply is better"
        raise RecipeError(cause, place="measure.grader", remedy="Use a recipe with a grader, such as testbed")
    with run.answers() as answers:
        work = Session(run, display, answers)
        pairs = _held_out_pairs(work, asked, finished(run, SL_CAI))
        inputs = extra_preference_order.OrderInputs(pairs, asked)
        return work.stage(
            PREFERENCE_ORDER,
            run.recipe.measure,
            work.read(asked, pairs, preferences),
            lambda out: extra_preference_order.run(inputs, work.scorer(preferences.model), grader, out),
            code=extra_preference_order.CODE,
        )


def measure_snapshots(run: RunDirectory, display: Display) -> Artefact:
    """What every snapshot of the last round's policy replies to held-out prompts, from its start (step 0) on.

    Raises RunError when reinforcement learning is not finished or kept no snapshots.
    """
    settings, grader = run.recipe.measure, grader_of(run.recipe)
    asked, reinforced = finished(run, PROMPTS), finished(run, policies_of(run.recipe)[-1])
    steps = reinforced.facts.get("snapshots", ())
    if not steps:
        remedy = f"Make a run that does: solon run NEW --reuse {run.path} --set rl.snapshots=5"
        raise RunError("no snapshots of the policy were kept", place=str(run.path), remedy=remedy)
    reinforced.verify(f"{SNAPSHOT_FOLDER}/")
    folder = reinforced.path / SNAPSHOT_FOLDER
    scorers = [finished(run, in_round(PREFERENCE_MODEL, run.recipe.rounds)).model]
    if (held_out := held_out_model(run)) is not None:
        scorers.append(held_out)
    with run.answers() as answers:
        work = Session(run, display, answers)
        start = work.start if run.recipe.method is Method.RLHF else finished(run, SL_CAI).model
        policies = {0: start, **{step: snapshot_path(folder, step) for step in steps}}
        key = work.read(asked, reinforced, start=start, **{f"scorer {n}": each for n, each in enumerate(scorers)})

        def measured(out: StageFolder) -> Artefact:
            score, *held = (work.scorer(each, centred=True) for each in scorers)
            inputs = extra_snapshots.SnapshotInputs(
                run.recipe.seed, asked, policies, score, held[0] if held else None, run.recipe.engine.batch_size
            )
            return extra_snapshots.run(settings, inputs, work.engine, out, grader)

        return work.stage(SNAPSHOTS, settings, key, measured, lambda facts: facts["signs"], code=extra_snapshots.CODE)


def held_out_model(run: RunDirectory) -> Path | None:
    """The folder of the preference model that the policy did not learn from: trained in the run, or brought."""
    given = run.recipe.rl.held_out_scorer
    trained = run.finished(in_round(HELD_OUT_MODEL, run.recipe.rounds))
    return model_path(given) if given else trained.model if trained is not None else None


def _held_out_pairs(work: Session, asked: Artefact, supervised: Artefact) -> Artefact:
    settings = work.recipe.pairs.model_copy(update={"per_prompt": PAIRS_MEASURED})
    inputs = s05_response_pairs.PairInputs(work.recipe.seed, asked, work.recipe.engine.batch_size, HELD_OUT_KINDS)
    return work.stage(
        HELD_OUT_PAIRS,
        settings,
        work.read(asked, supervised),
        lambda out: s05_response_pairs.run(settings, inputs, work.engine(supervised.model), out),
        code=s05_response_pairs.CODE,
    )


def finished(run: RunDirectory, name: str) -> Artefact:
    """A stage's artefact; raises RunError when it is not finished."""
    artefact = run.finished(name)
    if artefact is None:
        remedy = f"Go on with: solon run {run.path} --until {name}"
        raise RunError(f"stage '{name}' is not finished", place=str(run.path), remedy=remedy)
    return artefact
