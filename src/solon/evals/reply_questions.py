"""What a judge is asked about replies to measure models: yes-or-no questions and evaluation principles, from a file.

They stand in a file of their own (`data/measures/replies.yaml`), so that a model is not measured by the principles that
it was trained with. The file has `questions` for replies to harmful and to benign prompts, each named by the label that
yes gives, and `principles` of harmlessness and of helpfulness. A question is a plain text, answered by Yes or No, or it
has options of its own, or a reference reply: then yes means that the judge finds the reference better. Small judges
compare two replies well, and say yes to most questions about one. The pydantic models below are the schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from solon.config.builtin import measure_questions_path
from solon.config.located_yaml import Scalars, YamlFile
from solon.config.settings import Settings
from solon.config.validation import validated
from solon.errors import RecipeError
from solon.evals.grading import Label
from solon.feedback.comparisons import ShownOrder
from solon.prompts import YES_OR_NO
from solon.runs.rows import PromptKind


@dataclass(frozen=True, slots=True)
class ReplyQuestion:
    """A question about one reply; yes gives it the label.

    `options` are yes and no in the words of the question. With a `reference` the judge is not asked about the reply
    alone: it compares it with the reference, and yes is that the reference is better. `threshold` is what the log-odds
    of yes must exceed.
    """

    label: Label
    text: str
    options: tuple[str, str] = YES_OR_NO
    reference: str | None = None
    threshold: float = 0.0


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
    questions: Mapping[PromptKind, tuple[ReplyQuestion, ...]]
    principles: Mapping[PromptKind, tuple[EvaluationPrinciple, ...]]

    def replies_in(self, prompts: int) -> int:
        """How many replies fit into a chunk of `prompts` questions; at least 1.

        Each reply needs one per question and option order.
        """
        most = max((len(asked) for asked in self.questions.values()), default=0)
        return max(1, prompts // max(1, len(ShownOrder) * most))


_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class QuestionText(BaseModel):
    """A question as a file has it: a text, or a mapping with this form. The file's numbers arrive as texts."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    text: _Text
    yes: _Text | None = None
    no: _Text | None = None
    reference: _Text | None = None
    threshold: Annotated[float, Field(allow_inf_nan=False)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        return {"text": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fitting(self) -> QuestionText:
        if (self.yes is None) != (self.no is None):
            raise ValueError("'yes' and 'no' belong together")
        if self.yes is not None and self.reference is not None:
            raise ValueError("a question has either a reference or options of its own")
        return self

    def about(self, label: str) -> ReplyQuestion:
        """The question that gives a label."""
        options = YES_OR_NO if self.yes is None or self.no is None else (self.yes, self.no)
        return ReplyQuestion(Label(label), self.text, options, self.reference, self.threshold)


class _AboutHarmful(Settings):
    harmful: QuestionText
    evasive: QuestionText
    objecting: QuestionText | None = None


class _AboutBenign(Settings):
    helpful: QuestionText | None = None
    evasive: QuestionText


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


def _labelled(group: _AboutHarmful | _AboutBenign) -> tuple[ReplyQuestion, ...]:
    return tuple(question.about(label) for label, question in group if question is not None)
