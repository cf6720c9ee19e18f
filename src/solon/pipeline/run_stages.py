"""The method from end to end: the stages of a recipe in their order, each done or found finished.

`run_stages` goes through the stages that `solon.stages.plan` names and does those that are not finished, so that a
new, a resumed and a finished run take the same path. `solon.pipeline.session` does one stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from solon.config.model_parts import naming_parts
from solon.config.recipe import Algorithm, NetworkSharing
from solon.digest import Stamp
from solon.engines.engine_place import EnginePlace, ThisProcess
from solon.errors import RecipeError
from solon.pipeline.preflight import refuse_contradictions
from solon.pipeline.session import Session
from solon.runs import RunDirectory
from solon.runs.processes import SINGLE_PROCESS, Processes, Sharding
from solon.runs.progress import Display
from solon.stages.plan import MEASURE, policies_of, stages_of
from solon.stages.s06_ai_feedback import AiFeedback, LabelOverride


def run_stages(
    run: RunDirectory,
    display: Display,
    until: str = MEASURE,
    override: LabelOverride | None = None,
    processes: Processes = SINGLE_PROCESS,
    place: EnginePlace | None = None,
) -> Mapping[Path, Stamp] | None:
    """Do every stage of the run, up to the one named `until`, that is not finished; the caller holds the run's lock.

    Returns the files and folders that the keys of all stages rest on, as they were when they were read; None when
    stages follow `until`, or when a key rests on something else than files, such as a model behind a server.

    Raises the kinds of SolonError that stages raise, and Interrupted when the run was asked to stop. Of several
    processes all call this, the main one holding the lock. Models are asked in `place`, here when None.
    """
    refuse_contradictions(run.recipe)
    stages = stages_of(run.recipe)
    last = next((place for place, stage in enumerate(stages) if stage.name == until), len(stages) - 1)
    if {stage.name for stage in stages[: last + 1]} & set(policies_of(run.recipe)):
        _refuse_sharded(run, processes)
    with naming_parts(run.recipe), run.answers() as answers:
        session = Session(run, display, answers, processes, place or ThisProcess())
        for stage in stages[: last + 1]:
            session.do(replace(stage, override=override) if isinstance(stage, AiFeedback) else stage)
    return session.files_read() if last == len(stages) - 1 else None


def _refuse_sharded(run: RunDirectory, processes: Processes) -> None:
    """Raise RecipeError where FSDP is to shard a backbone that four networks share, before anything is spent."""
    rl = run.recipe.rl
    if (
        processes.sharding is Sharding.SHARDED
        and rl.networks is NetworkSharing.SHARED
        and rl.algorithm is not Algorithm.DPO
    ):
        raise RecipeError(
            "FSDP shards every network by itself, and rl.networks=shared has one backbone for all of them",
            place="rl.networks",
            remedy="Use --set rl.networks=separate, or go on without FSDP (--multi_gpu)",
        )
