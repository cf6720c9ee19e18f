"""Two runs that differ in nothing but their constitution, so that every difference of their rows is the edit's.

Settings, prompts and models must be the same; what is not is an error that names it. What may differ without being the
edit (the version of the code, the numbers of the engine) is a remark, and so is every stage that one run has not
finished: the others are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from solon.config.loading import differences, differences_between
from solon.config.recipe import Method
from solon.constitution.diff import Change, EditKind, changes
from solon.engines.rounding import ROUNDING
from solon.errors import RunError, listed
from solon.runs import Artefact, RunDirectory
from solon.runs.edit_check import DECIDABLE
from solon.runs.rows import PromptRow
from solon.stages.plan import PROMPTS, names_of
from solon.stats.intervals import percent

R = TypeVar("R")
FREE = DECIDABLE | {"name", "constitution"} | {f"engine.{name}" for name in ROUNDING}
"""Settings that may differ: they change no row, or are the edit itself."""
WARM_START = "warm_start"
"""A group of settings, and a part of a key, that may differ too: how the new run was trained after the edit."""
_BY_EDIT = frozenset({"settings", "seed", "constitution", "reserved", WARM_START})
"""Parts of a key that the recipe holds, or that follow from the constitution."""
_REMARKED = frozenset({"code", "engine"})
REVISION, PREFERENCE = "revision principle", "preference principle"
"""The sections of a constitution's differences that have principles."""


@dataclass(frozen=True, slots=True)
class ComparedRuns:
    """Two comparable runs, and the differences of their constitutions."""

    old: RunDirectory
    new: RunDirectory
    old_stages: Mapping[str, Artefact]
    new_stages: Mapping[str, Artefact]
    edits: tuple[Change, ...]
    remarks: tuple[str, ...] = ()

    def both(self, name: str) -> tuple[Artefact, Artefact] | None:
        """A stage that both runs finished; None when one did not."""
        if name in self.old_stages and name in self.new_stages:
            return self.old_stages[name], self.new_stages[name]
        return None

    def edited(self, section: str) -> dict[str, EditKind]:
        """The principles of a section that differ, by id."""
        return {each.id: each.edit for each in self.edits if each.section == section}

    def examples_edited(self, *sections: str) -> bool:
        """Whether worked examples of one of these kinds differ."""
        return any(each.section == f"{section} example" for each in self.edits for section in sections)


def compared_runs(old: RunDirectory, new: RunDirectory) -> ComparedRuns:
    """Raises RunError, naming what differs, for runs that are not by one recipe on the same prompts and models.

    Raises it too for two names of one run, and where recipe or constitution were edited in a run's folder, since rows
    and texts would not match.
    """
    refuse_same(old, new)
    for run in (old, new):
        run.refuse_edits()
    _refuse_other_settings(old, new)
    if new.recipe.method is Method.RLHF:
        cause = "the runs learn from human comparisons, and their constitutions ask nothing of any model"
        raise RunError(cause, place=str(new.path), remedy="Name runs by method cai")
    before, after = ({artefact.name: artefact for artefact in run.artefacts(verified=True)} for run in (old, new))
    runs = ComparedRuns(old, new, before, after, tuple(changes(old.constitution, new.constitution)))
    _refuse_other_inputs(runs)
    return replace(runs, remarks=tuple(dict.fromkeys(_remarks(runs))))


def refuse_same(one: RunDirectory, other: RunDirectory) -> None:
    """Raise RunError where both names are of the same folder: a run does not differ from itself."""
    if one.path.resolve() == other.path.resolve():
        cause = "both names are of the same run"
        raise RunError(cause, place=f"{one.path} and {other.path}", remedy="Name two runs")


def _refuse_other_settings(old: RunDirectory, new: RunDirectory) -> None:
    other = [
        f"{key}: {a!r} -> {b!r}"
        for key, a, b in differences(old.recipe, new.recipe)
        if key not in FREE and key.split(".")[0] != WARM_START
    ]
    if other:
        raise RunError(
            f"the runs are not comparable: made with other settings ({listed(other)})",
            place=f"{old.path} and {new.path}",
            remedy="Compare runs that differ in their constitution only: "
            f"solon run NEW --reuse {old.path} --set constitution=FILE. For other settings: solon ablate",
        )


def _refuse_other_inputs(runs: ComparedRuns) -> None:
    """Raise RunError where models or files of prompts differ, or no prompt is in both runs."""
    other = [
        f"{stage}, {key}: {a} -> {b}" for stage, key, a, b in _key_changes(runs) if key.split(".")[0] not in _REMARKED
    ]
    place = f"{runs.old.path} and {runs.new.path}"
    if other:
        raise RunError(
            f"the runs are not comparable: they read other models or files ({'; '.join(other)})",
            place=place,
            remedy="Compare runs on the same models and prompts",
        )
    if runs.both(PROMPTS) is None:
        unfinished = runs.old if PROMPTS not in runs.old_stages else runs.new
        raise RunError(
            "the run has not finished its first stage, so there is nothing to compare",
            place=str(unfinished.path),
            remedy=f"Continue with: solon run {unfinished.path}",
        )
    only_old, only_new, common = _prompts(runs)
    if not common:
        raise RunError(
            f"the runs are not comparable: no prompt is in both ({only_old} in the first, {only_new} in the second)",
            place=place,
            remedy="Compare runs on the same prompts",
        )


def _key_changes(runs: ComparedRuns) -> Iterator[tuple[str, str, object, object]]:
    """What differs in the keys of the stages that both runs finished, other than the edit and what follows from it."""
    follows = _BY_EDIT | set(runs.old_stages) | set(runs.new_stages) | set(names_of(runs.new.recipe))
    for name in runs.old_stages:
        if (pair := runs.both(name)) is not None:
            old, new = pair[0].manifest.key, pair[1].manifest.key
            for key, before, after in differences_between(old, new):
                if key not in follows and key.split(".")[0] not in follows:
                    yield name, key, before, after


def _prompts(runs: ComparedRuns) -> tuple[int, int, int]:
    """How many prompts only the old run has, only the new one, and both."""
    pair = runs.both(PROMPTS)
    assert pair is not None
    if pair[0].hash == pair[1].hash:
        return 0, 0, pair[0].manifest.rows
    old, new = ({(row.row_id, row.kind) for row in each.rows(PromptRow)} for each in pair)
    return len(old - new), len(new - old), len(old & new)


def _remarks(runs: ComparedRuns) -> Iterator[str]:
    if not runs.edits:
        yield "The two constitutions are the same, so no difference comes from an edit."
    warm = runs.new.recipe.warm_start
    if warm.models:
        yield (
            f"Training went on from earlier models in {', '.join(warm.models)}, for {percent(warm.share)} of the "
            "epochs or steps, so these models learned from both constitutions."
        )
    only_old, only_new, common = _prompts(runs)
    if only_old or only_new:
        yield (
            f"{only_old} prompts are in the old run only and {only_new} in the new run only; the {common} others are "
            "compared."
        )
    for stage, key, before, after in _key_changes(runs):
        yield f"Stage {stage} was made with another {key} ({before} -> {after}); that may change rows as well."
    for run, stages in ((runs.old, runs.old_stages), (runs.new, runs.new_stages)):
        yield from run.remarks()
        if missing := [name for name in names_of(run.recipe) if name not in stages]:
            yield f"{run.path} has not finished {', '.join(missing)}, so these stages are not compared."
