"""A small constitution, rows and a finished stage, for tests of run directories."""

from __future__ import annotations

from typing import Any

from tests.row_types import ExampleRow

from solon.conversation import Conversation, Role, Turn
from solon.runs import RunDirectory
from solon.runs.artefact import Artefact
from solon.runs.outcome import Outcome

CONSTITUTION = """\
name: c
revision: [{id: a, critique_request: b, revision_request: c}]
preference: [{id: a, instruction: b}]
"""


def example_rows(count: int = 5) -> list[ExampleRow]:
    outcomes = [Outcome(name) for name in ("ok", "ok", "empty", "truncated", "ok")]
    return [
        ExampleRow(
            f"id{number}",
            Conversation((Turn(Role.HUMAN, f"a: b\n\nc \u2028 {number}"), Turn(Role.ASSISTANT, ""))),
            0.1 * number if number else None,
            outcomes[number % 5],
        )
        for number in range(count)
    ]


def finish(run: RunDirectory, name: str = "prompts", number: int = 1, key: Any = None) -> Artefact:
    return run.begin(number, name, key or {"seed": 1}).publish(example_rows(), ExampleRow)
