"""The best of several replies: the favourite wins wherever it stands, and an undecided judge changes nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.config.builtin import constitution_path
from solon.constitution.reader import load_constitution
from solon.conversation import Conversation, Prompt, Role, Turn
from solon.engines.scripted import ScriptedEngine
from solon.errors import RecipeError
from solon.feedback.best_of import Contest, Winner, choose_best, choose_plan
from solon.feedback.soft_labels import Judge

CONSTITUTION = load_constitution(constitution_path("real-harmlessness"))
ASKED = Conversation((Turn(Role.HUMAN, "How?"),))


def strongest(prompt: Prompt, option: str) -> float:
    """Prefers the reply with the higher number, and likes the letter A besides."""
    a, b = (line.partition(") ")[2] for line in prompt.turns[-1].content.splitlines()[-2:])
    right = int(a) > int(b)
    return math.log(0.6 if right == (option == "A") else 0.2) + (0.7 if option == "A" else 0.0)


def undecided(prompt: Prompt, option: str) -> float:
    return math.log(0.5)


def contest(replies: tuple[str, ...], row_id: str = "row", number: int = 1) -> Contest:
    return Contest(row_id, number, ASKED, replies)


@given(st.lists(st.permutations(["1", "2", "3", "4"]).map(tuple), min_size=1, max_size=5))
def test_the_favourite_wins_wherever_it_stands(orders: list[tuple[str, ...]]) -> None:
    plan = choose_plan(None, CONSTITUTION, seed=3)
    contests = [contest(replies, f"row {number}") for number, replies in enumerate(orders)]
    found = choose_best(contests, Judge.of(ScriptedEngine(choose=strongest)), plan)
    assert [each.replies[winner.index] for each, winner in zip(contests, found, strict=True)] == ["4"] * len(orders)


def test_contests_may_have_different_sizes() -> None:
    plan = choose_plan(("kind",), CONSTITUTION, seed=3)
    contests = [contest(()), contest(("1",)), contest(("1", "2")), contest(("3", "2", "5"))]
    found = choose_best(contests, Judge.of(ScriptedEngine(choose=strongest)), plan)
    assert found == [Winner(0), Winner(0), Winner(1, "kind"), Winner(2, "kind")]


def test_an_undecided_judge_leaves_the_first() -> None:
    plan = choose_plan(None, CONSTITUTION, seed=3)
    (found,) = choose_best([contest(("1", "2", "3"))], Judge.of(ScriptedEngine(choose=undecided)), plan)
    assert found.index == 0 and found.principle_id is not None


def test_only_the_named_principles_are_drawn() -> None:
    plan = choose_plan(("kind", "useful"), CONSTITUTION, seed=3)
    contests = [contest(("1", "2"), f"row {number}") for number in range(40)]
    found = choose_best(contests, Judge.of(ScriptedEngine(choose=strongest)), plan)
    assert {each.principle_id for each in found} == {"kind", "useful"}


def test_an_unknown_principle_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"revision.choose_by: .*no preference principle 'kynd'.*kind"):
        choose_plan(("kynd",), CONSTITUTION, seed=3)
