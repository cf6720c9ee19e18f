"""Several revisions of one reply, checked, and the best of them chosen.

All candidates of a batch go to the reviser together. Each has a seed and an opening of its own; the first has the seed
that it would have alone. A canned refusal is counted as a defect, because a model that learns from it becomes evasive;
by the recipe it is also refused. Only candidates fit for training meet in the comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from solon.checks.evasion import is_canned_refusal
from solon.checks.rules import Defect
from solon.checks.texts import Checked, Shown, check_revision
from solon.config.recipe import EvasiveRevisions, RevisionSettings
from solon.conversation import Conversation, Prompt
from solon.digest import seed_for
from solon.engines.base import Completion, Engine
from solon.feedback.ask import ask
from solon.feedback.best_of import Choose, Contest, Winner
from solon.runs.outcome import Outcome
from solon.runs.rows import RevisionCandidate


@dataclass(frozen=True, slots=True)
class RevisionRequest:
    """What the reviser is asked at one step of a chain, and what it must not give back as its own text."""

    row_id: str
    step: int
    conversation: Conversation
    prompt: Prompt
    shown: Shown


@dataclass(frozen=True, slots=True)
class Candidate:
    """A revision with the checks that it met."""

    opening: str
    completion: Completion
    checked: Checked
    seed: int

    def row(self) -> RevisionCandidate:
        """What the table keeps of each candidate."""
        return RevisionCandidate(
            opening=self.opening,
            completion=self.checked.text,
            finish=self.completion.finish.value,
            seed=self.seed,
            outcome=self.checked.outcome,
            defects=tuple(defect.value for defect in self.checked.defects),
        )


@dataclass(frozen=True, slots=True)
class ChosenRevision:
    """The revision of a step, all its candidates, and the principle of the last comparison."""

    revision: Candidate
    candidates: tuple[Candidate, ...]
    principle_id: str | None


def revise(
    settings: RevisionSettings, seed: int, requests: Sequence[RevisionRequest], reviser: Engine, choose: Choose | None
) -> list[ChosenRevision]:
    """One revision for each request: the best of its candidates, or the first where nobody compares them."""
    written = _write(settings, seed, requests, reviser)
    fit = [[each for each in candidates if each.checked.outcome is Outcome.OK] for candidates in written]
    contests = [
        Contest(request.row_id, request.step, request.conversation, tuple(each.checked.text for each in good))
        for request, good in zip(requests, fit, strict=True)
    ]
    winners = choose(contests) if choose is not None else [Winner(0) for _ in contests]
    return [
        ChosenRevision(good[winner.index] if good else candidates[0], tuple(candidates), winner.principle_id)
        for good, candidates, winner in zip(fit, written, winners, strict=True)
    ]


def revision_seed(seed: int, row_id: str, step: int, number: int = 0) -> int:
    """The seed of a candidate; that of the first depends only on prompt and step."""
    more = () if number == 0 else (number,)
    return seed_for(seed, "revision", row_id, step, *more)


def _write(
    settings: RevisionSettings, seed: int, requests: Sequence[RevisionRequest], reviser: Engine
) -> list[list[Candidate]]:
    """The candidates of each request, in order."""
    openings = [settings.openings[number % len(settings.openings)] for number in range(settings.candidates)]
    asked = [(request, number) for request in requests for number in range(settings.candidates)]
    questions = [_opened(request.prompt, openings[number], settings.candidates) for request, number in asked]
    seeds = [revision_seed(seed, request.row_id, request.step, number) for request, number in asked]
    revisions = ask(reviser, questions, seeds, settings.revision)
    found = [
        _checked(revision, openings[number], request.shown, drawn, settings.evasive)
        for (request, number), revision, drawn in zip(asked, revisions, seeds, strict=True)
    ]
    return [found[start : start + settings.candidates] for start in range(0, len(found), settings.candidates)]


def _opened(prompt: Prompt, opening: str, candidates: int) -> Prompt:
    """The prompt of a candidate; several candidates read the same turns, so an engine reads all but the last once."""
    shared = max(prompt.shared, len(prompt.turns) - 1) if candidates > 1 else prompt.shared
    return replace(prompt, opening=opening, shared=shared)


def _checked(completion: Completion, opening: str, shown: Shown, seed: int, evasive: EvasiveRevisions) -> Candidate:
    """A candidate: its opening and what the model wrote after it, judged as one text."""
    if opening and completion.text:
        completion = replace(completion, text=f"{opening} {completion.text}")
    checked = check_revision(completion, shown)
    if checked.outcome is Outcome.OK and is_canned_refusal(checked.text):
        outcome = Outcome.REFUSED if evasive is EvasiveRevisions.REFUSE else Outcome.OK
        checked = replace(checked, outcome=outcome, defects=(*checked.defects, Defect.EVASIVE))
    return Candidate(opening, completion, checked, seed)
