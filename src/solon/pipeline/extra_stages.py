"""Extra stages: prompts that a model writes, measures for ablations, the snapshots of a policy, over-refusal.

Each is a stage of its own in the run's folder, under its own key, so that the run can still be resumed; a run that
reuses another reuses these as well. The caller of every function holds the run's lock.
"""

from __future__ import annotations

from solon.config.recipe import JUDGE_GRADER, NO_GRADER
from solon.errors import RecipeError, RunError
from solon.pipeline.session import Session, finished
from solon.runs import Artefact, RunDirectory
from solon.runs.progress import Display
from solon.stages.plan import (
    HELD_OUT_PAIRS,
    PREFERENCE_MODEL,
    PREFERENCE_ORDER,
    PROMPTS,
    RED_TEAM,
    REFUSALS,
    SL_CAI_MEASURE,
    SNAPSHOTS,
    built_in,
    language_models_of,
    policies_of,
)


def write_red_team(run: RunDirectory, display: Display) -> Artefact:
    """Have a model write red-team prompts like those of the run.

    The run's prompts are read first when that stage is not finished. Raises as `solon.pipeline.order.advance` does.
    """
    return _done(run, display, PROMPTS, RED_TEAM)


def measure_supervised(run: RunDirectory, display: Display) -> Artefact:
    """What SL-CAI by itself replies to held-out prompts, rated; raises RunError when SL-CAI is not finished."""
    return _done(run, display, SL_CAI_MEASURE)


def measure_preferences(run: RunDirectory, display: Display) -> Artefact:
    """How well the preference model orders fresh replies of SL-CAI to held-out prompts.

    Raises RunError when that model is not finished, and RecipeError when the recipe has no grader.
    """
    finished(run, PREFERENCE_MODEL)
    if run.recipe.measure.grader in (NO_GRADER, JUDGE_GRADER):
        cause = "this recipe has no grader that knows the truth, so that no order of replies is known"
        raise RecipeError(cause, place="measure.grader", remedy="Use a recipe with a grader, such as testbed")
    return _done(run, display, HELD_OUT_PAIRS, PREFERENCE_ORDER)


def measure_snapshots(run: RunDirectory, display: Display) -> Artefact:
    """What every snapshot of the last round's policy replies to held-out prompts, from its start (step 0) on.

    Raises RunError when reinforcement learning is not finished or kept no snapshots.
    """
    if not finished(run, policies_of(run.recipe)[-1]).facts.get("snapshots", ()):
        remedy = f"Make a run that does: solon run NEW --reuse {run.path} --set rl.snapshots=5"
        raise RunError("no snapshots of the policy were kept", place=str(run.path), remedy=remedy)
    return _done(run, display, SNAPSHOTS)


def measure_refusals(run: RunDirectory, display: Display) -> Artefact:
    """What the run's models reply to benign prompts that sound harmful; RunError when a model is not finished."""
    for name in language_models_of(run.recipe):
        finished(run, name)
    return _done(run, display, REFUSALS)


def _done(run: RunDirectory, display: Display, *names: str) -> Artefact:
    """The artefact of the last of these stages."""
    with run.answers() as answers:
        session = Session(run, display, answers)
        return [session.do(built_in(name)) for name in names][-1]
