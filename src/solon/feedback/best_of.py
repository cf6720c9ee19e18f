"""The best of several replies to one conversation, by a judge (best-of-n sampling).

The first candidate meets the second, the better of the two meets the third, and so on. Each comparison draws a
preference principle and is put in both orders, as for labels. Where the judge has no preference the earlier candidate
stays, so an undecided comparison never favours a later one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from solon.config.located_yaml import suggestion
from solon.config.recipe import FeedbackSettings
from solon.constitution.constitution import Constitution
from solon.conversation import Conversation
from solon.errors import RecipeError
from solon.feedback.comparisons import ComparisonPlan
from solon.feedback.soft_labels import Judge, judge_pairs
from solon.runs.outcome import Outcome
from solon.runs.rows import PairRow

ROUNDS = 1000
"""More than the candidates of a contest: every comparison of a prompt has a number, and so a draw, of its own."""


@dataclass(frozen=True, slots=True)
class Contest:
    """Replies to one conversation, of which one is to stay. `number` tells contests about the same prompt apart."""

    row_id: str
    number: int
    conversation: Conversation
    replies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Winner:
    """The place of the best reply, and the principle of its last comparison if it met another."""

    index: int
    principle_id: str | None = None


Choose = Callable[[Sequence[Contest]], list[Winner]]
"""Decides contests, one winner for each."""


def choose_plan(principles: tuple[str, ...] | None, constitution: Constitution, seed: int) -> ComparisonPlan:
    """How candidates are compared: zero-shot letters in both orders, by the named preference principles.

    Raises RecipeError, naming the nearest id, for a principle that the constitution does not have.
    """
    known = {principle.id: principle for principle in constitution.preference}
    for name in principles or ():
        if name not in known:
            raise RecipeError(
                f"constitution '{constitution.name}' has no preference principle '{name}'",
                place="revision.choose_by",
                remedy=f"{suggestion(name, known)}. --set revision.choose_by=null compares by all of them",
            )
    chosen = constitution.preference if principles is None else tuple(known[name] for name in principles)
    return ComparisonPlan.of(FeedbackSettings(), replace(constitution, preference=chosen), seed)


def choose_best(contests: Sequence[Contest], judge: Judge, plan: ComparisonPlan) -> list[Winner]:
    """The winner of each contest, in order; comparisons of one round go to the judge together."""
    winners = [Winner(0) for _ in contests]
    for challenger in range(1, max((len(contest.replies) for contest in contests), default=0)):
        numbers = [number for number, contest in enumerate(contests) if challenger < len(contest.replies)]
        planned = [plan.planned(_pair(contests[number], winners[number], challenger)) for number in numbers]
        judged = judge_pairs(planned, plan, judge)
        for number, row in zip(numbers, judged, strict=True):
            (judgement,) = row.judgements
            beaten = judgement.p_a is not None and judgement.p_a < 0.5
            winners[number] = Winner(challenger if beaten else winners[number].index, judgement.principle_id)
    return winners


def _pair(contest: Contest, holder: Winner, challenger: int) -> PairRow:
    return PairRow(
        row_id=contest.row_id,
        pair=contest.number * ROUNDS + challenger,
        prompt=contest.conversation,
        response_a=contest.replies[holder.index],
        response_b=contest.replies[challenger],
        outcome=Outcome.OK,
    )
