"""Which questions a run asks again after an edit of its constitution, computed before a token is spent.

The edit is followed from stage to stage, in the order of the run. Each says which of its questions are asked again, and
whether anything that it made may change (`Stage.asked_again`); a stage that reads what may change may change as well.
All counts are upper bounds. Tokens are the mean of the run's own answers to questions of the kind, times the questions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from solon.config.recipe import Method
from solon.constitution.constitution import Constitution
from solon.errors import RunError
from solon.pipeline.session import Session
from solon.runs import RunDirectory
from solon.runs.progress import Silent
from solon.runs.response_cache import Usage
from solon.stages.plan import stages_of
from solon.stages.stage import ConstitutionEdit, Kind, QuestionCount


@dataclass(frozen=True, slots=True)
class Questions:
    """Questions of one kind: how many the run asked, and of those, how many at most are asked again, with tokens.

    Tokens are of the questions asked again; None when the run kept no answers to take the mean from.
    """

    stage: str
    what: str
    asked: int
    again: int
    prompt_tokens: int | None
    completion_tokens: int | None


@dataclass(frozen=True, slots=True)
class Impact:
    """What is asked again, and the stages that train again with the seconds that they took."""

    questions: tuple[Questions, ...]
    trained: Mapping[str, float]
    unfinished: tuple[str, ...]
    """Stages with questions that the run has not finished; nothing is known of them."""


def impact_of(run: RunDirectory, new: Constitution) -> Impact:
    """What `run`'s recipe would ask again under `new`.

    Raises RecipeError when `new` has too few worked examples, and RunError for a run without a constitution at work,
    or with one that was edited since.
    """
    if run.recipe.method is Method.RLHF:
        cause = "the run learns from human comparisons, and its constitution asks nothing of any model"
        raise RunError(cause, place=str(run.path), remedy="Name a run by method cai")
    run.refuse_edits()
    with run.answers() as answers:
        usage = answers.usage()
    work, found = Session(run, Silent()), {artefact.name: artefact for artefact in run.artefacts()}
    followed, changed = set[str](), set[str]()
    questions, trained, unfinished = list[Questions](), dict[str, float](), list[str]()
    for stage in stages_of(run.recipe):
        inputs = stage.inputs(run.recipe)
        if not (stage.by_constitution or followed.intersection(inputs)):
            continue
        followed.add(stage.name)
        if (made := found.get(stage.name)) is not None:
            edit = ConstitutionEdit(work, run.constitution, new, found, frozenset(changed))
            again = stage.asked_again(edit)
            questions += [_priced(usage, stage.name, count) for count in again.counts]
            may_change = again.changed
        else:
            may_change = not changed.isdisjoint(inputs)
        if made is None and stage.kind is not Kind.TRAINS:
            unfinished.append(stage.name)
        if may_change:
            changed.add(stage.name)
            if made is not None and stage.kind is Kind.TRAINS:
                trained[stage.name] = made.manifest.seconds
    return Impact(tuple(questions), trained, tuple(unfinished))


def _priced(usage: Mapping[tuple[str, str], Usage], stage: str, count: QuestionCount) -> Questions:
    known, again = usage.get((stage, count.role.value)), count.again
    if known is None:
        nothing = 0 if not again else None
        return Questions(stage, count.what, count.asked, again, nothing, nothing)
    tokens = [round(again * total / known.answers) for total in (known.prompt_tokens, known.completion_tokens)]
    return Questions(stage, count.what, count.asked, again, *tokens)
