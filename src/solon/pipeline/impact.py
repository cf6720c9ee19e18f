"""What an edited constitution makes new in a run that is finished, or begun: told before a token is spent.

Every row's principle is drawn again under the new constitution, and a question counts as asked again when its words
would change. In a chain of revisions all that follows a changed step may change too, so the counts are upper bounds: a
step that comes out as before leaves its followers as they were. When any row of the supervised data changes, SL-CAI is
trained again, and with it everything that its replies lead to. Tokens are the mean of the run's own answers to
questions of the kind, times the questions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from solon.config.recipe import FeedbackForm, Method
from solon.constitution.constitution import Constitution, draw, revision_principles, worked_critiques
from solon.conversation import Role
from solon.errors import RunError
from solon.evals.judge_check import JudgeSetup, prompts_of
from solon.evals.results import (
    AI_FEEDBACK,
    CRITIQUE_REVISION,
    MEASURE,
    PREFERENCE_MODEL,
    RESPONSE_PAIRS,
    SL_CAI,
    in_round,
    policies_of,
)
from solon.feedback.comparisons import ComparisonPlan
from solon.runs import Artefact, RunDirectory
from solon.runs.response_cache import Usage
from solon.runs.rows import AnswerRow, PairRow, RevisionRow
from solon.testbed.judge_questions import judge_questions


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


def redo(run: RunDirectory, new: Constitution) -> Impact:
    """What `run`'s recipe would ask again under `new`.

    Raises RecipeError when `new` has too few worked examples, and RunError for a run without a constitution at work,
    or with one that was edited since.
    """
    if run.recipe.method is Method.RLHF:
        cause = "the run learns from human comparisons, and its constitution asks nothing of any model"
        raise RunError(cause, place=str(run.path), remedy="Name a run by method cai")
    run.refuse_edits()
    found = {artefact.name: artefact for artefact in run.artefacts()}
    asking = (CRITIQUE_REVISION, RESPONSE_PAIRS, AI_FEEDBACK, MEASURE)
    questions: list[Questions] = []
    with run.answers() as answers:
        usage = answers.usage()
    supervised = False
    if CRITIQUE_REVISION in found:
        counts, supervised = _chains(run, new, found[CRITIQUE_REVISION])
        questions += [_priced(usage, CRITIQUE_REVISION, *each) for each in counts]
    trained = {SL_CAI: supervised}
    policy_again = preferences = supervised
    for number, policy in enumerate(policies_of(run.recipe), start=1):
        drawn, labelled = in_round(RESPONSE_PAIRS, number), in_round(AI_FEEDBACK, number)
        if drawn in found:
            pairs = found[drawn].manifest.rows
            again = 2 * pairs if policy_again else 0
            questions.append(_priced(usage, drawn, "reply", Role.ASSISTANT, 2 * pairs, again))
        if drawn in found and labelled in found:
            counts, changed = _labels(run, new, found[drawn], everything=policy_again)
            # Later rounds have the judge's answers to questions with known answers from the first.
            if number == 1 and (found[labelled].facts.get("judge_check") or {}).get("judge"):
                counts = _with_judge_check(run, new, counts)
            questions += [_priced(usage, labelled, *each) for each in counts]
            preferences |= changed
        # The next round draws from this policy, and learns from these labels as well.
        policy_again = preferences
        trained |= {in_round(PREFERENCE_MODEL, number): preferences, policy: preferences}
    if MEASURE in found:
        retrained = {name for name, changed in trained.items() if changed}
        models = [row.model for row in found[MEASURE].rows(AnswerRow)]
        again = sum(model in retrained for model in models)
        questions.append(_priced(usage, MEASURE, "reply", Role.ASSISTANT, len(models), again))
    seconds = {name: found[name].manifest.seconds for name, changed in trained.items() if changed and name in found}
    return Impact(tuple(questions), seconds, tuple(name for name in asking if name not in found))


Counts = tuple[str, Role, int, int]
"""What is asked, the role that answers, how many were asked, and how many are asked again."""


def _chains(run: RunDirectory, new: Constitution, revisions: Artefact) -> tuple[list[Counts], bool]:
    """Critiques and revisions by step, and whether any row of the stage changes."""
    old, seed, settings = run.constitution, run.recipe.seed, run.recipe.revision
    examples_changed = worked_critiques(settings, old) != worked_critiques(settings, new)
    principles = {principle.id: principle for principle in old.revision}
    candidates = revision_principles(settings, new)
    counts: dict[tuple[int, Role], list[int]] = {}
    touched: set[str] = set()
    renamed = False
    for row in sorted(revisions.rows(RevisionRow), key=lambda row: row.step):
        row_id, step = row.row_id, row.step
        before = principles.get(row.principle_id)
        if before is None:
            cause = f"row {row_id} names the principle '{row.principle_id}', which the run's constitution lacks"
            raise RunError(cause, place=str(revisions.path))
        now = draw(candidates, seed, row_id, step)
        renamed |= now.id != before.id
        earlier = row_id in touched or examples_changed
        criticised = row.critique_outcome is not None
        critique_again = criticised and (earlier or now.critique_request != before.critique_request)
        revision_again = earlier or critique_again or now.revision_request != before.revision_request
        # A step whose critique failed had no revision; a new critique may have one.
        revised = row.finish is not None
        revision_again &= revised or critique_again
        for role, asked, again in (
            (Role.CRITIQUE, criticised, critique_again),
            (Role.REVISION, revised or revision_again, revision_again),
        ):
            count = counts.setdefault((step, role), [0, 0])
            count[0] += asked
            count[1] += again
        if revision_again:
            touched.add(row_id)
    found: list[Counts] = [
        (f"{role.value}, step {step}", role, asked, again)
        for (step, role), (asked, again) in sorted(counts.items())
        if asked
    ]
    return found, bool(touched) or renamed


def _labels(run: RunDirectory, new: Constitution, pairs: Artefact, *, everything: bool) -> tuple[list[Counts], bool]:
    """Questions to the judge by kind, and whether any label may change."""
    old, seed, settings = run.constitution, run.recipe.seed, run.recipe.feedback
    before, after = (ComparisonPlan.of(settings, each, seed) for each in (old, new))
    reasoned = settings.form is FeedbackForm.REASONED
    asked = again = 0
    changed = everything
    for pair in pairs.rows(PairRow):
        old_pair, new_pair = before.planned(pair), after.planned(pair)
        variant = old_pair.variant
        shown = before.reasoned != after.reasoned if reasoned else before.variants[variant] != after.variants[variant]
        count = len(old_pair.orders) * settings.samples * len(run.recipe.models.judges)
        for drawn, now in zip(old_pair.draws, new_pair.draws, strict=True):
            changed |= drawn.principle.id != now.principle.id
            if old_pair.undecided is None:
                asked += count
                again += count if everything or shown or drawn.principle.instruction != now.principle.instruction else 0
    counts: list[Counts] = [("letter", Role.ANSWER, asked, again)]
    if reasoned:
        counts.insert(0, ("reasoning", Role.REASONING, asked, again))
    return counts, changed or again > 0


def _with_judge_check(run: RunDirectory, new: Constitution, counts: list[Counts]) -> list[Counts]:
    """The questions to the judge, those with known answers that it is measured on included."""
    before, after = (
        prompts_of(JudgeSetup(run.recipe.feedback, each, run.recipe.seed), judge_questions(run.recipe, each))
        for each in (run.constitution, new)
    )
    return [(what, role, asked + len(before), again + len(after - before)) for what, role, asked, again in counts]


def _priced(
    usage: Mapping[tuple[str, str], Usage], stage: str, what: str, role: Role, asked: int, again: int
) -> Questions:
    known = usage.get((stage, role.value))
    if known is None:
        return Questions(stage, what, asked, again, 0 if not again else None, 0 if not again else None)
    tokens = [round(again * total / known.answers) for total in (known.prompt_tokens, known.completion_tokens)]
    return Questions(stage, what, asked, again, *tokens)
