"""What the new run cost against a run from nothing, from the manifests and the stores of answers.

A stage that was reused cost nothing. Every other stage cost the seconds that its manifest has. A run from nothing
is the old run: the seconds of its manifests, where a stage that it reused itself has the seconds of the run that
made it. Times are those of the machines at that time; another load changes them, and questions do not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from solon.reporting.effect.comparable_runs import ComparedRuns
from solon.runs.response_cache import Usage, recorded_usage


class StageState(StrEnum):
    """How the new run came by a stage."""

    REUSED = "reused"
    ALL_ANSWERS = "all answers reused"
    SOME_ANSWERS = "some answers reused"
    ANEW = "done anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """One stage that both runs finished."""

    stage: str
    number: int
    state: StageState
    seconds_from_nothing: float
    seconds: float
    """0 for a stage that was reused."""
    questions: int
    """Answers of models that the stage is made of."""
    asked: int
    """Of them, those that the new run asked; the others were reused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditCost:
    """The cost of the new run, over the stages that both runs finished."""

    stages: tuple[StageCost, ...]
    seconds_from_nothing: float
    seconds: float
    share: float | None
    """The share of the time that a run from nothing takes; None where no time is recorded."""
    taken_over: int
    """How many stages were reused."""
    questions: int
    asked: int
    remarks: tuple[str, ...]


def edit_cost(runs: ComparedRuns) -> EditCost:
    """The cost of the stages that both runs finished."""
    before, after = recorded_usage(runs.old.path), recorded_usage(runs.new.path)
    stages = tuple(_stage_cost(runs, name, before, after) for name in runs.new_stages if runs.both(name) is not None)
    from_nothing, seconds = sum(each.seconds_from_nothing for each in stages), sum(each.seconds for each in stages)
    return EditCost(
        stages=stages,
        seconds_from_nothing=from_nothing,
        seconds=seconds,
        share=seconds / from_nothing if from_nothing > 0 else None,
        taken_over=sum(each.state is StageState.REUSED for each in stages),
        questions=sum(each.questions for each in stages),
        asked=sum(each.asked for each in stages),
        remarks=tuple(_remarks(runs, before)),
    )


def _stage_cost(
    runs: ComparedRuns, name: str, before: Mapping[tuple[str, str], Usage], after: Mapping[tuple[str, str], Usage]
) -> StageCost:
    old, new = runs.old_stages[name].manifest, runs.new_stages[name].manifest
    taken = new.adopted_from is not None
    answers = [usage for (stage, _), usage in (before if taken else after).items() if stage == name]
    questions = sum(each.answers for each in answers)
    asked = 0 if taken else questions - sum(each.reused for each in answers)
    return StageCost(
        stage=name,
        number=new.number,
        state=StageState.REUSED if taken else _state(questions, asked),
        seconds_from_nothing=old.seconds,
        seconds=0.0 if taken else new.seconds,
        questions=questions,
        asked=asked,
    )


def _state(questions: int, asked: int) -> StageState:
    if asked < questions:
        return StageState.SOME_ANSWERS if asked else StageState.ALL_ANSWERS
    return StageState.ANEW


def _remarks(runs: ComparedRuns, before: Mapping[tuple[str, str], Usage]) -> Iterator[str]:
    if runs.old.path.resolve() not in runs.new.reuses:
        yield f"The new run does not reuse the old one; with --reuse {runs.old.path} it would ask less."
    if reused := sum(each.reused for each in before.values()):
        yield (
            f"The old run reused {reused:,} answers of earlier runs itself, so a run from nothing takes longer than is "
            "shown."
        )
    if not before:
        yield "The old run has no store of answers, so its questions are not counted."
