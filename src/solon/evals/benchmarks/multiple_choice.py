"""Putting multiple-choice questions to a model so that no letter has an advantage.

Models like some letters better than others, and in two of the paper's files the letters stand for fixed answers. Each
question is therefore asked once for every cyclic rotation of its options (for two options: in both orders), so that
every option stands once under every letter; `accuracy` averages the log-probabilities over them, which removes whatever
a letter adds, exactly. In the reasoned form the model writes `samples` chains of thought for every rotation and its
letters are read after each of them (paper, section 2). Some questions stay undecided: one that does
not fit the window, a chain of thought that was cut off, a letter without a probability.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from solon import prompts
from solon.config.recipe import OptionOrder, SamplingParams
from solon.constitution.constitution import PreferencePrinciple
from solon.conversation import Conversation, Prompt
from solon.digest import digest, seed_for, uniform_for
from solon.engines.base import Engine
from solon.evals.benchmarks.question_files import Question, TaskType
from solon.evals.benchmarks.worked_examples import Worked
from solon.feedback.ask import TOO_LONG, ask, fit_window
from solon.feedback.comparisons import UndecidedReason
from solon.feedback.letters import letter_form, reasoning_in
from solon.runs.evaluation_rows import ChoiceAnswer


class Form(StrEnum):
    """What comes before the letter."""

    LETTER = "letter"
    """Only the question (0-shot)."""
    FEW_SHOT = "few-shot"
    """Worked examples."""
    REASONED = "reasoned"
    """Worked examples with reasoning, and the model's own reasoning (chain of thought)."""


@dataclass(frozen=True, slots=True)
class QuestionSetup:
    """How questions are put: the form, the orders of options, and how reasoning is drawn."""

    form: Form = Form.LETTER
    order: OptionOrder = OptionOrder.BOTH
    samples: int = 1
    """Chains of thought for each rotation; 1 in the other forms."""
    sampling: SamplingParams = field(default_factory=SamplingParams)
    seed: int = 0


Key = tuple[int, int, int]
"""Question, rotation and sample."""


def ask_choices(
    engine: Engine, questions: Sequence[Question], manner: QuestionSetup, worked: Worked
) -> list[ChoiceAnswer]:
    """What the model answers to each question, in order; `reasoning` is kept only in the reasoned form."""
    asked: dict[Key, Prompt] = {}
    for number, question in enumerate(questions):
        for rotation in rotations(question, manner):
            prompt = prompt_for(question, rotation, manner.form, worked)
            asked |= {(number, rotation, sample): prompt for sample in range(manner.samples)}
    thoughts: dict[Key, str] = {}
    unasked: set[Key] = set()
    if manner.form is Form.REASONED:
        seeds = [seed_for(manner.seed, "chain", _key(questions[n]), r, s) for n, r, s in asked]
        written = ask(engine, list(asked.values()), seeds, manner.sampling)
        thoughts = {key: reasoning_in(each) for key, each in zip(asked, written, strict=True)}
        unasked = {key for key, each in zip(asked, written, strict=True) if each == TOO_LONG}
        asked = {key: prompts.verdict(prompt, thoughts[key]) for key, prompt in asked.items() if thoughts[key]}
    answers: dict[Key, tuple[float, ...] | UndecidedReason] = {
        key: UndecidedReason.TOO_LONG if key in unasked else UndecidedReason.UNREASONED for key in thoughts
    }
    answers |= _read_letters(engine, asked, len(questions[0].options) if questions else 0)
    return [_row(question, number, manner, answers, thoughts) for number, question in enumerate(questions)]


def rotations(question: Question, manner: QuestionSetup) -> tuple[int, ...]:
    """By how many places the options are moved on: every number, or one drawn for the question."""
    count = len(question.options)
    if manner.order is OptionOrder.BOTH:
        return tuple(range(count))
    return (int(uniform_for(manner.seed, "rotation", _key(question)) * count),)


def shown(rotation: int, count: int) -> tuple[int, ...]:
    """Which option stands under each letter: under the first one the option number `rotation`, and so on around."""
    return tuple((rotation + place) % count for place in range(count))


def prompt_for(question: Question, rotation: int, form: Form, worked: Worked) -> Prompt:
    """The question in words, its options moved on by `rotation` places."""
    options = [question.options[place] for place in shown(rotation, len(question.options))]
    reasoned = form is Form.REASONED
    conversation = question.conversation
    if question.kind is TaskType.COMPARISON:
        principle = PreferencePrinciple("evaluation", question.instruction)
        first, second = options
        if reasoned:
            return prompts.reasoning(conversation, principle, first, second, worked.reasoned)
        examples = worked.comparisons if form is Form.FEW_SHOT else ()
        return prompts.comparison(conversation, principle, first, second, examples)
    if reasoned:
        return prompts.classification_reasoning(conversation, question.instruction, options, worked.classified)
    classified = worked.classified if form is Form.FEW_SHOT else ()
    return prompts.classification(conversation, question.instruction, options, classified)


def conversations_of(question: Question) -> tuple[Conversation, ...]:
    """A comparison's whole dialogues, one for each reply, as a preference model scores them."""
    return tuple(question.conversation.with_reply(option) for option in question.options)


def _read_letters(
    engine: Engine, asked: Mapping[Key, Prompt], count: int
) -> dict[Key, tuple[float, ...] | UndecidedReason]:
    """Log-probabilities of the letters after each question, in the form in which the tokenizer's letters compare."""
    fits = fit_window(engine, list(asked.values()), 1)
    fitting = {key: prompt for (key, prompt), fitted in zip(asked.items(), fits, strict=True) if fitted}
    answers: dict[Key, tuple[float, ...] | UndecidedReason] = dict.fromkeys(asked, UndecidedReason.TOO_LONG)
    if fitting:
        among = prompts.letters(count)
        form = letter_form(engine, next(iter(fitting.values())), among)
        shown = [prompts.in_form(prompt, form) for prompt in fitting.values()]
        chosen = engine.choose(shown, prompts.letter_options(form, engine.rendering, among))
        for key, values in zip(fitting, chosen, strict=True):
            answers[key] = tuple(values) if all(map(math.isfinite, values)) else UndecidedReason.NO_LOGPROB
    return answers


def _row(
    question: Question,
    number: int,
    manner: QuestionSetup,
    answers: Mapping[Key, tuple[float, ...] | UndecidedReason],
    thoughts: Mapping[Key, str],
) -> ChoiceAnswer:
    turned = rotations(question, manner)
    given = [[answers[number, rotation, sample] for sample in range(manner.samples)] for rotation in turned]
    reasons = [value.value for samples in given for value in samples if isinstance(value, UndecidedReason)]
    written = (tuple(thoughts[number, rotation, sample] for sample in range(manner.samples)) for rotation in turned)
    return ChoiceAnswer(
        line=question.line,
        correct=question.correct,
        rotations=turned,
        log_probs=tuple(
            tuple(None if isinstance(value, UndecidedReason) else value for value in samples) for samples in given
        ),
        reasoning=tuple(written) if thoughts else None,
        unanswered_because=reasons[0] if reasons else None,
    )


def _key(question: Question) -> str:
    return digest(question.conversation.row_id, question.options)
