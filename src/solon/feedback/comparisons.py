"""Which comparisons are put to a judge: principles, option orders and worked examples, each drawn for its pair.

No draw depends on the order of work. A pair's principle (one for each axis, where the recipe names axes), the order of
its options and the arrangement of its worked examples depend only on the run's seed, the prompt and the pair's number.
There are few arrangements, so that many questions share a prefix, which an engine reads once. Everything is drawn once
for a pair and kept with it (`PlannedPair`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from solon import prompts
from solon.config.located_yaml import suggestion
from solon.config.recipe import FeedbackForm, FeedbackSettings, OptionOrder
from solon.constitution.constitution import (
    ComparisonExample,
    Constitution,
    PreferencePrinciple,
    ReasonedExample,
    draw,
    preference_principles,
)
from solon.conversation import Prompt
from solon.digest import digest, seed_for, uniform_for
from solon.errors import RecipeError
from solon.runs.outcome import Outcome
from solon.runs.rows import LabelRow, PairRow, PromptKind

Shot = tuple[ComparisonExample, PreferencePrinciple, str]
"""A worked comparison, its own principle, and the letter under which the better reply is shown."""

Thought = tuple[ReasonedExample, PreferencePrinciple]
"""A worked comparison with its reasoning, and its own principle."""


class ShownOrder(StrEnum):
    """Which reply is shown as (A)."""

    AB = "ab"
    BA = "ba"


class UndecidedReason(StrEnum):
    """Why a pair has no label."""

    FAILED = "a reply failed"
    IDENTICAL = "the replies are the same"
    TOO_LONG = "the question is longer than the window"
    UNREASONED = "the reasoning is empty or cut off"
    NO_LOGPROB = "a letter's probability is missing"
    LETTERLESS = "both letters together have too little probability"
    NO_VOTE = "no answer names a letter"
    TIE = "both letters are equally probable"


@dataclass(frozen=True, slots=True)
class Axis:
    """What has a label of its own: its weight in the label of the pair, and the principles that are drawn from."""

    name: str | None
    """None where all principles are one axis, whatever their own."""
    weight: float
    principles: tuple[PreferencePrinciple, ...]


class AxisDraw(NamedTuple):
    """A principle drawn for a pair on one axis."""

    axis: str
    weight: float
    principle: PreferencePrinciple


class QuestionKey(NamedTuple):
    """One question to a judge: its place in the batch, its order, its axis, and which sample of reasoning it is."""

    number: int
    order: ShownOrder
    axis: int
    sample: int


def axes_of(settings: FeedbackSettings, constitution: Constitution) -> tuple[Axis, ...]:
    """The axes that are judged; raises RecipeError, naming the nearest, for one on which no principle can be drawn."""
    principles = preference_principles(settings, constitution)
    if settings.axes is not None:
        return tuple(
            Axis(name, weight, _on_axis(name, principles, constitution, f"feedback.axes.{name}"))
            for name, weight in settings.axes.items()
        )
    if settings.helpful_axis is None:
        return (Axis(None, 1.0, principles),)
    others = tuple(each for each in principles if each.axis != settings.helpful_axis)
    if not any(each.weight > 0 for each in others):
        raise RecipeError(
            f"constitution '{constitution.name}' has no preference principle on another axis than "
            f"'{settings.helpful_axis}', by which replies to red-team prompts are compared",
            place="feedback.helpful_axis",
            remedy="Write one, or compare all replies by all principles: --set feedback.helpful_axis=null",
        )
    return (Axis(None, 1.0, others),)


def helpful_axes_of(settings: FeedbackSettings, constitution: Constitution) -> tuple[Axis, ...] | None:
    """The axis by which replies to helpful prompts are judged, where it is another one; raises RecipeError likewise."""
    name = settings.helpful_axis
    if name is None:
        return None
    principles = preference_principles(settings, constitution)
    return (Axis(None, 1.0, _on_axis(name, principles, constitution, "feedback.helpful_axis")),)


def _on_axis(
    name: str, principles: Sequence[PreferencePrinciple], constitution: Constitution, place: str
) -> tuple[PreferencePrinciple, ...]:
    known = dict.fromkeys(principle.axis for principle in principles if principle.weight > 0)
    if name not in known:
        raise RecipeError(
            f"constitution '{constitution.name}' has no preference principle on the axis '{name}'",
            place=place,
            remedy=suggestion(name, known),
        )
    return tuple(each for each in principles if each.axis == name)


def draws(axes: Sequence[Axis], seed: int, *key: object) -> tuple[AxisDraw, ...]:
    """One principle for each axis, by weight within the axis."""
    chosen = [(axis, draw(axis.principles, seed, *key)) for axis in axes]
    return tuple(AxisDraw(axis.name or principle.axis, axis.weight, principle) for axis, principle in chosen)


@dataclass(frozen=True, slots=True)
class PlannedPair:
    """A pair with all that is drawn for it."""

    pair: PairRow
    variant: int
    """Which arrangement of worked comparisons stands in front."""
    draws: tuple[AxisDraw, ...]
    """The principles by which it is judged, one for each axis."""
    orders: tuple[ShownOrder, ...]
    undecided: UndecidedReason | None
    """Why the judge is not asked about it, if so."""


@dataclass(frozen=True, slots=True)
class ComparisonPlan:
    """All that decides what a judge is asked about a pair."""

    settings: FeedbackSettings
    seed: int
    axes: tuple[Axis, ...]
    helpful_axes: tuple[Axis, ...] | None
    """For replies to helpful prompts; None where these are judged like all others."""
    variants: tuple[tuple[Shot, ...], ...]
    reasoned: tuple[Thought, ...] | None

    @classmethod
    def of(cls, settings: FeedbackSettings, constitution: Constitution, seed: int) -> ComparisonPlan:
        """The plan for a constitution; raises RecipeError when it has too few worked examples, or not every axis."""
        return cls(
            settings,
            seed,
            axes_of(settings, constitution),
            helpful_axes_of(settings, constitution),
            few_shot_variants(settings, constitution, seed),
            worked_reasoning(settings, constitution, seed),
        )

    @property
    def every_axis(self) -> tuple[Axis, ...]:
        """The axes of all pairs, those of helpful prompts last."""
        return (*self.axes, *(self.helpful_axes or ()))

    def planned(self, pair: PairRow) -> PlannedPair:
        """The pair with its arrangement, principles and orders."""
        key = pair_key(pair)
        axes = self.helpful_axes if self.helpful_axes and pair.kind is PromptKind.HELPFUL else self.axes
        return PlannedPair(
            pair,
            variant_of(self.seed, pair, len(self.variants)),
            draws(axes, self.seed, *key),
            orders(self.settings.order, self.seed, *key),
            why_not_asked(pair),
        )

    def questions(self, number: int, planned: PlannedPair) -> Iterator[tuple[QuestionKey, Prompt]]:
        """Every question about a pair: on each axis, in each order, for each sample of reasoning."""
        if planned.undecided is not None:
            return
        for axis, drawn in enumerate(planned.draws):
            for order in planned.orders:
                prompt = self._prompt(planned, drawn.principle, order)
                yield from (
                    (QuestionKey(number, order, axis, sample), prompt) for sample in range(self.settings.samples)
                )

    def seed_of(self, what: str, pair: PairRow | LabelRow, asked: QuestionKey, *more: object) -> int:
        """The seed of a reasoning or a vote; the first ones on a single axis depend only on pair and order."""
        axis = () if len(self.axes) == 1 else (self.axes[asked.axis].name,)
        sample = () if asked.sample == 0 else (asked.sample,)
        return seed_for(self.seed, what, *pair_key(pair), asked.order, *axis, *sample, *more)

    def _prompt(self, planned: PlannedPair, principle: PreferencePrinciple, order: ShownOrder) -> Prompt:
        pair = planned.pair
        replies = (pair.response_a, pair.response_b)
        first, second = replies if order is ShownOrder.AB else replies[::-1]
        if self.reasoned is not None:
            return prompts.reasoning(pair.prompt, principle, first, second, self.reasoned)
        return prompts.comparison(pair.prompt, principle, first, second, self.variants[planned.variant])


def few_shot_variants(
    settings: FeedbackSettings, constitution: Constitution, seed: int
) -> tuple[tuple[Shot, ...], ...]:
    """The `prefix_variants` arrangements of worked comparisons in use; each pair has one of them in front.

    In each, `few_shot` examples stand in a drawn order, every one with a principle of its own draw; as nearly as
    possible half of the better replies stand under each letter. The reasoned form has examples of its own, and none
    here. Raises RecipeError when there are too few examples.
    """
    if settings.form is FeedbackForm.REASONED:
        return ((),) * settings.prefix_variants
    known = constitution.comparison_examples
    count = settings.few_shot
    if count > len(known):
        raise RecipeError(
            f"{count} worked comparisons are asked for, but the constitution has {len(known)}",
            place="feedback.few_shot",
            remedy=f"Write more under 'examples: comparison:', or --set feedback.few_shot={len(known)}",
        )
    principles = preference_principles(settings, constitution)
    variants = range(settings.prefix_variants)
    return tuple(_arrangement(known, principles, count, seed, variant) for variant in variants)


def worked_reasoning(settings: FeedbackSettings, constitution: Constitution, seed: int) -> tuple[Thought, ...] | None:
    """The worked comparisons with reasoning, each with a principle of its own draw; None in the letter form.

    Raises RecipeError when there are too few of them.
    """
    if settings.form is FeedbackForm.LETTER:
        return None
    known = constitution.reasoned_examples
    if settings.few_shot > len(known):
        raise RecipeError(
            f"{settings.few_shot} reasoned comparisons are asked for, but the constitution has {len(known)}",
            place="feedback.few_shot",
            remedy=f"Write more under 'examples: reasoned:', or --set feedback.few_shot={len(known)}",
        )
    principles = preference_principles(settings, constitution)
    return tuple(
        (example, draw(principles, seed, "reasoned comparison", index))
        for index, example in enumerate(known[: settings.few_shot])
    )


def _arrangement(
    known: Sequence[ComparisonExample], principles: Sequence[PreferencePrinciple], count: int, seed: int, variant: int
) -> tuple[Shot, ...]:
    chosen = sorted(range(len(known)), key=lambda index: digest(seed, "worked comparison", variant, index))[:count]
    # Which half of the places gets which letter is drawn, so that letters neither alternate nor favour one side.
    places = sorted(range(count), key=lambda place: digest(seed, "letter", variant, place))
    first, second = prompts.LETTERS if uniform_for(seed, "first letter", variant) < 0.5 else prompts.LETTERS[::-1]
    letters = {place: first if rank < (count + 1) // 2 else second for rank, place in enumerate(places)}
    return tuple(
        (known[index], draw(principles, seed, "worked comparison", variant, index), letters[place])
        for place, index in enumerate(chosen)
    )


def pair_key(pair: PairRow | LabelRow) -> tuple[str, int]:
    """What every draw for a pair depends on: its prompt and its number."""
    return pair.row_id, pair.pair


def variant_of(seed: int, pair: PairRow, count: int) -> int:
    """Which of `count` arrangements of worked comparisons stands in front of a pair."""
    return int(uniform_for(seed, "prefix variant", *pair_key(pair)) * count)


def orders(setting: OptionOrder, seed: int, *key: object) -> tuple[ShownOrder, ...]:
    """The orders in which a pair is shown: both, or one drawn for its key."""
    if setting is OptionOrder.BOTH:
        return (ShownOrder.AB, ShownOrder.BA)
    return (ShownOrder.AB,) if uniform_for(seed, "option order", *key) < 0.5 else (ShownOrder.BA,)


def why_not_asked(pair: PairRow) -> UndecidedReason | None:
    """Why a pair is not put to the judge, if so."""
    if pair.outcome is not Outcome.OK:
        return UndecidedReason.FAILED
    return UndecidedReason.IDENTICAL if pair.response_a == pair.response_b else None
