"""Asking a judge as the feedback stage asks it: the same words, worked examples, orders, reasoning and letters.

This is the one place where the measures of a judge meet `solon.stages.ai_feedback`. The arrangement of worked examples
and the seed of the reasoning hang on conversation and principle, never on the replies, so that a pair and the same pair
with words put into a reply differ in those words alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from solon import wording
from solon.constitution import Constitution
from solon.conversation import Prompt
from solon.digest import seed_for, uniform_for
from solon.engines.base import Engine
from solon.evals.fitness.questions import Pair
from solon.evals.judging import JudgedPair
from solon.recipe import FeedbackSettings, OptionOrder
from solon.stages.ai_feedback import Order, Why, ask_letters, few_shot_variants, sigmoid, think, worked_reasoning

CHUNK = 64
"""Pairs that are asked at once, and are then in the store of answers."""
Answer = Mapping[Order, float | Why]
"""Per order that was asked the log-odds that reply A is better, or why there are none."""


@dataclass(frozen=True, slots=True)
class Judge:
    """A model that judges by the settings of a recipe."""

    engine: Engine
    settings: FeedbackSettings
    constitution: Constitution
    seed: int

    @property
    def orders(self) -> tuple[Order, ...]:
        """The orders in which a pair is shown. Where the stage would draw one, A stands first."""
        return (Order.AB, Order.BA) if self.settings.order is OptionOrder.BOTH else (Order.AB,)

    def compare(self, pairs: Sequence[Pair], orders: Sequence[Order] | None = None) -> list[Answer]:
        """An answer for each pair, in `orders` when they are given.

        Raises RecipeError when the constitution has too few worked examples.
        """
        wanted = self.orders if orders is None else tuple(orders)
        variants = few_shot_variants(self.settings, self.constitution, self.seed)
        # Pairs with the same worked examples are asked together, so that an engine reads those once.
        turn = sorted(range(len(pairs)), key=lambda number: self._variant(pairs[number], len(variants)))
        answers: dict[tuple[int, Order], float | Why] = {}
        for start in range(0, len(turn), CHUNK):
            answers |= self._ask({number: pairs[number] for number in turn[start : start + CHUNK]}, wanted)
        return [{order: answers[number, order] for order in wanted} for number in range(len(pairs))]

    def _ask(self, pairs: Mapping[int, Pair], orders: Sequence[Order]) -> dict[tuple[int, Order], float | Why]:
        variants = few_shot_variants(self.settings, self.constitution, self.seed)
        reasoned = worked_reasoning(self.settings, self.constitution, self.seed)
        questions: dict[tuple[int, Order], Prompt] = {}
        for number, pair in pairs.items():
            for order in orders:
                replies = (pair.a, pair.b) if order is Order.AB else (pair.b, pair.a)
                shown = (pair.conversation, pair.principle, *replies)
                if reasoned is not None:
                    questions[number, order] = wording.reasoning(*shown, reasoned)
                else:
                    examples = variants[self._variant(pair, len(variants))]
                    questions[number, order] = wording.comparison(*shown, examples)
        if reasoned is None:
            return ask_letters(self.engine, questions)
        seeds = {(number, order): self._seed(pairs[number], order) for number, order in questions}
        thoughts = think(self.engine, questions, seeds, self.settings.reasoning)
        questions = {key: wording.verdict(prompt, thoughts[key]) for key, prompt in questions.items()}
        unreasoned = {key: Why.UNREASONED for key, thought in thoughts.items() if not thought}
        return ask_letters(self.engine, questions) | unreasoned

    def _variant(self, pair: Pair, count: int) -> int:
        return int(uniform_for(self.seed, "fitness", pair.conversation.row_id, pair.principle.id) * count)

    def _seed(self, pair: Pair, order: Order) -> int:
        return seed_for(self.seed, "fitness", pair.conversation.row_id, pair.principle.id, order)


def judged_pair(answer: Answer, better_is_a: bool, principle_id: str) -> JudgedPair:
    """A judge's answer beside the truth; without a label when any order has none, as in the stage."""
    told = {order: value for order, value in answer.items() if isinstance(value, float)}
    whole = bool(told) and len(told) == len(answer)
    p_a = sigmoid(math.fsum(told.values()) / len(told)) if whole else None
    return JudgedPair(p_a, told.get(Order.AB), told.get(Order.BA), better_is_a, principle_id)


def is_right(pair: JudgedPair) -> bool:
    """Whether the label prefers the better reply; no label does not, nor does one of exactly one half."""
    return pair.p_a is not None and (pair.p_a > 0.5 if pair.a_better else pair.p_a < 0.5)
