"""Worked examples to stand in front of a question.

For comparisons they are the constitution's own, each with a principle of its own draw, exactly as the feedback stage
shows them (paper, section 4.1). For the two classification evaluations Solon brings a few of its own, which find their
option by its words. Which examples are shown, and under which letters their answers stand, is drawn once per file, so
that all its questions share one prefix; the letters are spread as evenly as the number of examples allows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from solon.config.builtin import DATA
from solon.config.recipe import FeedbackForm, FeedbackSettings
from solon.constitution.constitution import Constitution
from solon.conversation import Conversation, Role, Turn
from solon.digest import digest
from solon.errors import InputError
from solon.evals.benchmarks.question_files import QuestionFile, TaskType
from solon.feedback.comparisons import Shot, Thought, few_shot_variants, worked_reasoning
from solon.prompts import ClassifiedExample, letters

FILE = DATA / "benchmarks" / "examples.yaml"


@dataclass(frozen=True, slots=True)
class Worked:
    """What stands in front of every question of a file; only the field that fits its kind is filled."""

    comparisons: tuple[Shot, ...] = ()
    reasoned: tuple[Thought, ...] = ()
    classified: tuple[ClassifiedExample, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelledConversation:
    """A conversation, a part of the option that describes it, and why that is so."""

    conversation: Conversation
    label: str
    reasoning: str


def worked_for(file: QuestionFile, form: FeedbackForm, count: int, constitution: Constitution, seed: int) -> Worked:
    """`count` worked examples for the questions of a file, with reasoning in the reasoned form.

    Raises InputError when there are fewer.
    """
    if count == 0:
        return Worked()
    if file.kind is TaskType.CLASSIFICATION:
        return Worked(classified=_classified(file, count, seed))
    settings = FeedbackSettings(form=form, few_shot=count, prefix_variants=1)
    reasoned = form is FeedbackForm.REASONED
    known = len(constitution.reasoned_examples if reasoned else constitution.comparison_examples)
    if count > known:
        raise _too_few(f"the constitution '{constitution.name}' has", known, count, file)
    if reasoned:
        return Worked(reasoned=worked_reasoning(settings, constitution, seed) or ())
    return Worked(comparisons=few_shot_variants(settings, constitution, seed)[0])


def built_in_sets() -> tuple[tuple[LabelledConversation, ...], ...]:
    """The sets of worked classifications that come with Solon."""
    sets = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return tuple(
        tuple(LabelledConversation(_said(each["conversation"]), each["label"], each["reasoning"]) for each in one)
        for one in sets
    )


def _classified(file: QuestionFile, count: int, seed: int) -> tuple[ClassifiedExample, ...]:
    options = file.questions[0].options
    fitting = [one for one in built_in_sets() if all(_option(each.label, options) is not None for each in one)]
    known = fitting[0] if fitting else ()
    if count > len(known):
        raise _too_few("for these options there are", len(known), count, file)
    chosen = _varied(known, seed)[:count]
    given = letters(len(options))
    # From a pack that holds every letter equally often, so that none comes twice more than another.
    pack = range(len(options) * math.ceil(count / len(options)))
    spread = sorted(pack, key=lambda place: digest(seed, "worked letter", place))
    examples = []
    for number, example in enumerate(chosen):
        letter = spread[number] % len(options)
        right = _option(example.label, options) or 0
        shown = tuple(options[(right - letter + place) % len(options)] for place in range(len(options)))
        examples.append(ClassifiedExample(example.conversation, shown, given[letter], example.reasoning))
    return tuple(examples)


def _varied(known: Sequence[LabelledConversation], seed: int) -> list[LabelledConversation]:
    """In a drawn order that meets every label once before it meets any label twice, and so on."""
    drawn = sorted(range(len(known)), key=lambda index: digest(seed, "worked classification", index))
    met: Counter[str] = Counter()
    ranked = []
    for position, index in enumerate(drawn):
        ranked.append((met[known[index].label], position, index))
        met[known[index].label] += 1
    return [known[index] for _, _, index in sorted(ranked)]


def _option(label: str, options: Sequence[str]) -> int | None:
    found = [place for place, option in enumerate(options) if label.casefold() in option.casefold()]
    return found[0] if len(found) == 1 else None


def _said(turns: Sequence[dict[str, str]]) -> Conversation:
    return Conversation(tuple(Turn(Role(turn["role"]), turn["content"]) for turn in turns))


def _too_few(what: str, known: int, count: int, file: QuestionFile) -> InputError:
    return InputError(
        f"{count} worked examples are asked for, but {what} {known}",
        place=str(file.path),
        remedy=f"Use --examples {known}" if known else "Use --examples 0, or another --constitution",
    )
