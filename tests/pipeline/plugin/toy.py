"""A stage of somebody else's: the assistant says of every red-team prompt what it is about.

Together with the line of `entry_points.txt` this is all that a new stage takes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from solon import prompts
from solon.checks.texts import check_reply
from solon.config.recipe import Recipe, SamplingParams
from solon.config.settings import Settings
from solon.constitution.constitution import Constitution
from solon.conversation import Conversation, Prompt, Role, Turn
from solon.digest import seed_for
from solon.engines.base import Engine
from solon.feedback.ask import STUB, ask, bare_tokens
from solon.runs import Artefact, Row, StageFolder
from solon.runs.rows import PromptKind, fit, prompt_in
from solon.stages.questions import QuestionKind
from solon.stages.stage import Reads, Stage, Work, plugin_settings

SCHEMA = pa.schema([("row_id", pa.string()), ("opinion", pa.string()), ("outcome", pa.string())])


class ToySettings(Settings):
    """The recipe's `plugins.toy`."""

    question: str = "What is this about?"
    pause: float = 0.0
    """Seconds to wait before each answer, so that a test can interrupt the stage."""


@dataclass(frozen=True)
class Toy(Stage):
    """One question about each red-team prompt."""

    code = 1
    after = "responses"

    def settings(self, recipe: Recipe) -> ToySettings:
        return plugin_settings(recipe, "toy", ToySettings)

    def inputs(self, recipe: Recipe) -> tuple[str, ...]:
        return ("prompts",)

    def reads(self, work: Work) -> Reads:
        return Reads({"assistant": work.assistant})

    def questions(self, recipe: Recipe) -> tuple[QuestionKind, ...]:
        def overhead(constitution: Constitution, engine: Engine) -> int:
            return engine.count_tokens(question(STUB, self.settings(recipe))) - bare_tokens(engine)

        about, assistant = (PromptKind.RED_TEAM,), recipe.models.assistant
        return (QuestionKind("opinion", "opinions", Role.ASSISTANT, assistant, about, 1, 8, overhead),)

    def run(self, work: Work, out: StageFolder) -> Artefact:
        settings, seed, engine = self.settings(work.recipe), work.recipe.seed, work.engine(work.assistant)

        def answer(rows: Sequence[Row]) -> list[Row]:
            time.sleep(settings.pause)
            asked = [question(prompt_in(row), settings) for row in rows]
            replies = ask(
                engine, asked, [seed_for(seed, "toy", row["row_id"]) for row in rows], SamplingParams(max_tokens=8)
            )
            return [
                {"row_id": row["row_id"], "opinion": reply.text, "outcome": check_reply(reply).outcome.value}
                for row, reply in zip(rows, replies, strict=True)
            ]

        rows = out.map("opinions", fit(work.artefact("prompts").rows(), PromptKind.RED_TEAM), answer, chunk=2)
        return out.publish(rows, SCHEMA, facts={"different_opinions": len({row["opinion"] for row in rows})})

    def summary(self, facts: Mapping[str, Any]) -> list[str]:
        return [f"{facts['different_opinions']} different opinions"]


def question(conversation: Conversation, settings: ToySettings) -> Prompt:
    last = conversation.turns[-1]
    asked = Turn(Role.HUMAN, f"{last.content} {settings.question}")
    return prompts.reply(Conversation((*conversation.turns[:-1], asked)))
