"""Extra stages: prompts that a model writes, attacks on a policy, its snapshots, over-refusal, measures for ablations.

Each is a stage of its own in the run's folder, under its own key, so that the run can still be resumed; a run that
reuses another reuses these as well. The caller of every function holds the run's lock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from solon.config.attack_settings import AttackSettings
from solon.config.model_spec import FOLDER, ModelSpec
from solon.config.ray_cluster import RayCluster
from solon.config.recipe import JUDGE_GRADER, NO_GRADER
from solon.engines.cluster.ray_place import place_of
from solon.engines.engine_place import EnginePlace, ThisProcess
from solon.errors import OtherSettingsError, RecipeError, RunError
from solon.pipeline.run_models import model_of, models_in, named_model
from solon.pipeline.session import Session, finished
from solon.runs import Artefact, RunDirectory
from solon.runs.progress import Display
from solon.stages.extra_attack import Attack
from solon.stages.plan import (
    ATTACK,
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


def write_red_team(run: RunDirectory, display: Display, on: RayCluster | None = None) -> Artefact:
    """Have a model write red-team prompts like those of the run, on the cluster `on`, or here when None.

    The run's prompts are read first when that stage is not finished. Raises as `place_of` and
    `solon.pipeline.run_stages.run_stages` do.
    """
    with place_of(on, run.recipe.engine) as place:
        for line in place.remarks:
            display.remark(line)
        return _done(run, display, PROMPTS, RED_TEAM, place=place)


@dataclass(frozen=True, slots=True)
class AttackOrder:
    """An attack as it is asked for: its settings, the model, and the name that its folder has."""

    settings: AttackSettings
    model: str | None = None
    """A model of the run, such as `sl-cai` or `rl-cai/20`, or any other; the last policy when None."""
    name: str | None = None
    """A name of its own, so that attacks with other settings stand beside each other; after the model when None."""

    def stage(self, run: RunDirectory) -> Attack:
        """The stage; raises ModelError and RunError for a model that is not there, and RunError for a bad name."""
        called = self.model or policies_of(run.recipe)[-1]
        spec = None if self.model is None else _attacked(run, self.model)
        name = _slug(called) if self.name is None else self.name
        if not name or _slug(name) != name:
            remedy = "Use small letters, digits and hyphens: --name second"
            raise RunError(f"'{name}' cannot be a part of a folder's name", place="--name", remedy=remedy)
        return Attack(f"{ATTACK}-{name}", given=self.settings, policy=spec, called=called)


def attack(run: RunDirectory, order: AttackOrder, display: Display) -> Artefact:
    """Look for prompts that a policy fails; the run's prompts are read first when that stage is not finished.

    Raises RunError where the policy or the preference model is not trained, or where an attack of the same name has
    other settings, and what the stage raises.
    """
    stage = order.stage(run)
    with run.answers() as answers:
        session = Session(run, display, answers)
        session.do(built_in(PROMPTS))
        try:
            return session.do(stage)
        except OtherSettingsError as error:
            remedy = "Put the old values back, or give this attack a folder of its own: --name NAME"
            raise OtherSettingsError(error.cause, place=error.place, remedy=remedy) from error


def _attacked(run: RunDirectory, name: str) -> ModelSpec:
    """The model of a name: one of the run's own, or any other that a command line can name."""
    own = name.partition("/")[0] in (*models_in(run), *language_models_of(run.recipe))
    return ModelSpec(FOLDER, str(model_of(run, name))) if own else named_model(name).spec


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


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


def _done(run: RunDirectory, display: Display, *names: str, place: EnginePlace | None = None) -> Artefact:
    """The artefact of the last of these stages."""
    with run.answers() as answers:
        session = Session(run, display, answers, place=place or ThisProcess())
        return [session.do(built_in(name)) for name in names][-1]
