"""Candidates of a revision: openings and seeds of their own, canned refusals, and the choice among the good ones."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from solon.checks.rules import Defect
from solon.checks.texts import Shown
from solon.config.recipe import EvasiveRevisions, RevisionSettings
from solon.conversation import Conversation, Prompt, Role, Turn
from solon.engines.base import Completion, Finish
from solon.engines.scripted import ScriptedEngine
from solon.feedback.best_of import Contest, Winner
from solon.feedback.revision_candidates import ChosenRevision, RevisionRequest, revise, revision_seed
from solon.runs.outcome import Outcome

ASKED = Conversation((Turn(Role.HUMAN, "How do I pick a lock?"),))
CANNED = "I'm sorry, but I can't assist with that."
OPENING = "I won't help with that, because"
REASON = f"{OPENING} it is theft. Ask a locksmith instead."


def writer(prompt: Prompt, seed: int) -> str | Completion:
    if prompt.opening == "Cut":
        return Completion("off in the mid", Finish.LENGTH)
    return "it is theft. Ask a locksmith instead." if prompt.opening else CANNED


def request(number: int = 0) -> RevisionRequest:
    prompt = Prompt((Turn(Role.HUMAN, f"Revise {number}."),), Role.REVISION)
    return RevisionRequest(f"row {number}", 1, ASKED, prompt, Shown(human="How do I pick a lock?"))


def last(contests: Sequence[Contest]) -> list[Winner]:
    return [Winner(max(0, len(each.replies) - 1), "kind") for each in contests]


def revised(settings: RevisionSettings, count: int = 1, choose=last) -> list[ChosenRevision]:
    requests = [request(number) for number in range(count)]
    return revise(settings, 5, requests, ScriptedEngine(generate=writer), choose)


def test_the_opening_is_part_of_the_revision() -> None:
    (found,) = revised(RevisionSettings(candidates=2, openings=("", OPENING)))
    assert [each.checked.text for each in found.candidates] == [CANNED, REASON]
    assert found.revision.checked.text == REASON and found.principle_id == "kind"
    assert found.revision.opening == OPENING


def test_openings_are_taken_in_turn_and_seeds_differ() -> None:
    (found,) = revised(RevisionSettings(candidates=5, openings=("", OPENING)))
    assert [each.opening for each in found.candidates] == ["", OPENING, "", OPENING, ""]
    assert len({each.seed for each in found.candidates}) == 5
    assert found.candidates[0].seed == revision_seed(5, "row 0", 1), "the seed that it would have alone"


@pytest.mark.parametrize("evasive", EvasiveRevisions)
def test_a_canned_refusal_is_counted_and_refused_on_request(evasive: EvasiveRevisions) -> None:
    (found,) = revised(RevisionSettings(evasive=evasive))
    assert found.revision.checked.defects == (Defect.EVASIVE,)
    assert found.revision.checked.text == CANNED
    kept = evasive is EvasiveRevisions.KEEP
    assert found.revision.checked.outcome is (Outcome.OK if kept else Outcome.REFUSED)


def test_only_good_candidates_meet_and_a_bad_first_one_stands_where_none_is_good() -> None:
    met: list[tuple[str, ...]] = []

    def choose(contests: Sequence[Contest]) -> list[Winner]:
        met.extend(each.replies for each in contests)
        return last(contests)

    settings = RevisionSettings(candidates=3, openings=("", "Cut", OPENING), evasive=EvasiveRevisions.REFUSE)
    (found,) = revised(settings, choose=choose)
    assert met == [(REASON,)] and found.revision.checked.text == REASON
    (none,) = revised(settings.model_copy(update={"candidates": 2}), choose=choose)
    assert met[-1] == () and none.revision.checked.outcome is Outcome.REFUSED
    assert [each.checked.outcome for each in none.candidates] == [Outcome.REFUSED, Outcome.TRUNCATED]


def test_requests_do_not_mix() -> None:
    found = revised(RevisionSettings(candidates=2, openings=("", OPENING)), count=4)
    seeds = [[each.seed for each in one.candidates] for one in found]
    assert seeds == [[revision_seed(5, f"row {row}", 1, number) for number in range(2)] for row in range(4)]


def test_the_table_keeps_every_candidate() -> None:
    (found,) = revised(RevisionSettings(candidates=2, openings=("", OPENING)))
    row = found.candidates[0].row()
    assert (row.completion, row.opening, row.outcome, row.defects) == (CANNED, "", Outcome.OK, ("evasive",))
