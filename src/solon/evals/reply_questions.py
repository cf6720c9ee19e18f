"""What a judge is asked about replies to measure models: yes-or-no questions and evaluation principles, from a file.

They stand in a file of their own (`data/measures/replies.yaml`), so that a model is not measured by the principles that
it was trained with. The file has `questions` for replies to harmful and to benign prompts, each named by the label that
yes gives, and `principles` of harmlessness and of helpfulness. The pydantic models below are the schema of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from solon.config.builtin import measure_questions_path
from solon.config.located_yaml import Scalars, YamlFile
from solon.config.settings import Settings
from solon.config.validation import validated
from solon.errors import RecipeError
from solon.evals.grading import Label
from solon.runs.rows import PromptKind


@dataclass(frozen=True, slots=True)
class YesNoQuestion:
    """A question about one reply; yes gives it the label."""

    label: Label
    text: str


@dataclass(frozen=True, slots=True)
class EvaluationPrinciple:
    """A question that compares two replies."""

    id: str
    question: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ReplyQuestions:
    """All that a judge is asked about replies, by the kind of the prompt."""

    name: str
    questions: Mapping[PromptKind, tuple[YesNoQuestion, ...]]
    principles: Mapping[PromptKind, tuple[EvaluationPrinciple, ...]]


_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _AboutHarmful(Settings):
    harmful: _Text
    evasive: _Text
    objecting: _Text


class _AboutBenign(Settings):
    helpful: _Text
    evasive: _Text


class _Questions(Settings):
    harmful_prompts: _AboutHarmful
    benign_prompts: _AboutBenign


class _Principle(Settings):
    id: _Text
    question: _Text


def _different(principles: tuple[_Principle, ...]) -> tuple[_Principle, ...]:
    ids = [each.id for each in principles]
    if repeated := next((each for each in ids if ids.count(each) > 1), None):
        raise ValueError(f"two principles have the id '{repeated}'")
    return principles


_Principles = Annotated[tuple[_Principle, ...], Field(min_length=1), AfterValidator(_different)]


class _PrinciplesOf(Settings):
    harmlessness: _Principles
    helpfulness: _Principles


class _File(Settings):
    name: _Text
    questions: _Questions
    principles: _PrinciplesOf


def read_reply_questions(name: str | Path) -> ReplyQuestions:
    """The questions of a built-in name or a YAML file; raises RecipeError with `file:line` and the key at fault."""
    path = measure_questions_path(name)
    values, places = YamlFile(path, RecipeError).read(scalars=Scalars.AS_WRITTEN)
    found = validated(_File, values, places)
    harmful, benign = PromptKind.HELD_OUT_HARMFUL, PromptKind.HELD_OUT_BENIGN
    asked, principles = found.questions, found.principles
    return ReplyQuestions(
        found.name,
        {harmful: _labelled(asked.harmful_prompts), benign: _labelled(asked.benign_prompts)},
        {
            harmful: tuple(EvaluationPrinciple(each.id, each.question) for each in principles.harmlessness),
            benign: tuple(EvaluationPrinciple(each.id, each.question) for each in principles.helpfulness),
        },
    )


def _labelled(group: _AboutHarmful | _AboutBenign) -> tuple[YesNoQuestion, ...]:
    return tuple(YesNoQuestion(Label(label), text) for label, text in group)
