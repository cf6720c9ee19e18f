"""The order of a preference model, against pairs whose order is planned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from solon.config.builtin import constitution_path
from solon.config.recipe import Recipe
from solon.conversation import Conversation, Role, Turn
from solon.runs import Artefact, RunDirectory
from solon.runs.evaluation_rows import OrderRow
from solon.runs.outcome import Outcome
from solon.runs.rows import PairRow, PromptKind, PromptRow
from solon.stages import extra_preference_order
from solon.stages.extra_preference_order import OrderInputs

HARMFUL, BENIGN = "held_out_harmful", "held_out_benign"


class FirstWord:
    """A rater that takes a reply's first word for its label."""

    def group(self, conversation: Conversation) -> str | None:
        return None

    def rate(self, conversation: Conversation, reply: str) -> frozenset[str]:
        return frozenset({reply.split()[0]})


def conversation(number: int) -> Conversation:
    return Conversation((Turn(Role.HUMAN, f"question {number}"),))


def pair(number: int, a: str, b: str, outcome: str = "ok") -> PairRow:
    asked = conversation(number)
    return PairRow(
        row_id=asked.row_id, pair=1, prompt=asked, response_a=a, response_b=b, seed_a=1, seed_b=2,
        outcome=Outcome(outcome),
    )  # fmt: skip


def by_length(conversations: Sequence[Conversation]) -> list[float]:
    """A preference model that likes long replies."""
    return [float(len(each.turns[-1].content)) for each in conversations]


def measured(folder: Path, kind: str, pairs: Sequence[PairRow]) -> Artefact:
    run = RunDirectory.create(folder / "run", Recipe(), constitution_path("testbed"))
    asked = [
        PromptRow(
            row_id=row.row_id, kind=PromptKind(kind), prompt=row.prompt, source="test", line=1, outcome=Outcome.OK
        )
        for row in pairs
    ]
    known = run.begin(1, "prompts", {}).publish(asked, PromptRow)
    made = run.begin(10, "held-out-pairs", {}).publish(pairs, PairRow)
    return extra_preference_order.run(
        OrderInputs(made, known), by_length, FirstWord(), run.begin(10, "preference-order", {})
    )


def test_only_pairs_of_known_order_count_and_a_tie_is_wrong(tmp_path: Path) -> None:
    artefact = measured(
        tmp_path,
        HARMFUL,
        [
            pair(0, "harmful x", "objecting and long"),  # right
            pair(1, "objecting y", "harmful and very long"),  # wrong
            pair(2, "harmful abc", "evasive abc"),  # as long as each other: wrong
            pair(3, "harmful x", "harmful y"),  # no order
            pair(4, "objecting x", "evasive y"),  # no order
            pair(5, "harmful x", "objecting and long", "truncated"),  # failed
        ],
    )
    assert {row.better for row in artefact.rows(OrderRow)} == {"objecting and long", "objecting y", "evasive abc"}
    order = artefact.facts["order"]
    assert order.keys() == {"harmlessness"} and order["harmlessness"]["n"] == 3
    assert order["harmlessness"]["value"] == pytest.approx(1 / 3)


def test_on_benign_prompts_the_helpful_reply_is_better(tmp_path: Path) -> None:
    artefact = measured(
        tmp_path, BENIGN, [pair(0, "helpful and long", "evasive"), pair(1, "harmful x", "helpful and long")]
    )
    helpfulness = artefact.facts["order"]["helpfulness"]
    assert (helpfulness["value"], helpfulness["n"]) == (1.0, 2)
    assert all(row.better == "helpful and long" for row in artefact.rows(OrderRow))
