"""A stage of somebody else's: the assistant says of every red-team prompt what it is about.

Together with the line of `entry_points.txt` this is all that a new stage takes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from solon import prompts
from solon.checks.texts import check_reply
from solon.config.recipe import Recipe, SamplingParams
from solon.config.settings import Settings
from solon.constitution.constitution import Constitution
from solon.conversation import Conversation, Prompt, Role, Turn
from solon.digest import seed_for
from solon.engines.base import Engine
from solon.feedback.ask import STUB, ask, bare_tokens
from solon.runs import Artefact, StageFolder
from solon.runs.outcome import Outcome
from solon.runs.rows import PromptKind, PromptRow, good_of
from solon.stages.questions import QuestionKind
from solon.stages.stage import Stage, StageDependencies, Work, plugin_settings


@dataclass(frozen=True)
class OpinionRow:
    """What the assistant says a prompt is about."""

    row_id: str
    opinion: str
    outcome: Outcome


class ToySettings(Settings):
    """The recipe's `plugins.toy`."""

    question: str = "What is this about?"
    pause: float = 0.0
    """Seconds to wait before each answer, so that a test can interrupt the stage."""


@dataclass(frozen=True)
class Toy(Stage):
    """One question about each red-team prompt."""

    after = "responses"
    needs = ("prompts",)
    plugin_section = ToySettings

    def reads(self, work: Work) -> StageDependencies:
        return StageDependencies({"assistant": work.assistant})

    def questions(self, recipe: Recipe) -> tuple[QuestionKind, ...]:
        def overhead(constitution: Constitution, engine: Engine) -> int:
            return engine.count_tokens(question(STUB, plugin_settings(recipe, self.name, ToySettings))) - bare_tokens(
                engine
            )

        about, assistant = (PromptKind.RED_TEAM,), recipe.models.assistant
        return (QuestionKind("opinion", "opinions", Role.ASSISTANT, assistant, about, 1, 8, overhead),)

    def run(self, work: Work, out: StageFolder) -> Artefact:
        settings = plugin_settings(work.recipe, self.name, ToySettings)
        seed, engine = work.recipe.seed, work.engine(work.assistant)

        def answer(rows: Sequence[PromptRow]) -> list[OpinionRow]:
            time.sleep(settings.pause)
            asked = [question(row.prompt, settings) for row in rows]
            replies = ask(
                engine, asked, [seed_for(seed, "toy", row.row_id) for row in rows], SamplingParams(max_tokens=8)
            )
            return [
                OpinionRow(row.row_id, reply.text, check_reply(reply).outcome)
                for row, reply in zip(rows, replies, strict=True)
            ]

        asked = good_of(work.artefact("prompts").rows(PromptRow), PromptKind.RED_TEAM)
        rows = out.map("opinions", asked, answer, row=OpinionRow, chunk=2)
        return out.publish(rows, OpinionRow, facts={"different_opinions": len({row.opinion for row in rows})})

    def summary(self, facts: Mapping[str, Any]) -> list[str]:
        return [f"{facts['different_opinions']} different opinions"]


def question(conversation: Conversation, settings: ToySettings) -> Prompt:
    last = conversation.turns[-1]
    asked = Turn(Role.HUMAN, f"{last.content} {settings.question}")
    return prompts.reply(Conversation((*conversation.turns[:-1], asked)))
