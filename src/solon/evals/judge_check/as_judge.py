"""Asking a judge as the feedback stage asks it: the same words, worked examples, orders, reasoning and letters.

Only this module repeats what `solon.stages.s06_ai_feedback` asks. The arrangement of worked examples and the seed of
the reasoning depend on conversation and principle, never on the replies, so that a pair and the same pair with words
put into a reply differ only in those words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from solon import prompts
from solon.config.recipe import FeedbackForm, FeedbackSettings, OptionOrder
from solon.constitution.constitution import Constitution
from solon.conversation import Prompt
from solon.digest import seed_for, uniform_for
from solon.engines.base import Engine
from solon.evals.judge_check.known_answers import JudgeQuestions, Pair
from solon.evals.label_accuracy import JudgedPair
from solon.feedback.comparisons import ShownOrder, UndecidedReason, few_shot_variants, worked_reasoning
from solon.feedback.letters import ask_letters, refuse_unreasoned, think
from solon.stats.log_odds import sigmoid

CHUNK = 128
"""Questions that are asked at once, and are then in the store of answers."""
Answer = Mapping[ShownOrder, float | UndecidedReason]
"""Per order that was asked the log-odds that reply A is better, or why there are none."""


@dataclass(frozen=True, slots=True)
class JudgeSetup:
    """How a judge is asked: the settings of a recipe, the constitution with the worked examples, and a seed."""

    settings: FeedbackSettings
    constitution: Constitution
    seed: int

    @property
    def orders(self) -> tuple[ShownOrder, ...]:
        """The orders in which a pair is shown. Where the stage would draw one, A stands first."""
        return (ShownOrder.AB, ShownOrder.BA) if self.settings.order is OptionOrder.BOTH else (ShownOrder.AB,)

    def prompts(self, pairs: Mapping[int, Pair], orders: Sequence[ShownOrder]) -> dict[tuple[int, ShownOrder], Prompt]:
        """The first question about each pair in each order: for its letter, or for the reasoning before it.

        Pairs with the same worked examples stand together, so that an engine reads those once. Raises RecipeError when
        the constitution has too few worked examples.
        """
        variants = few_shot_variants(self.settings, self.constitution, self.seed)
        reasoned = worked_reasoning(self.settings, self.constitution, self.seed)
        variant = {number: self._variant(pair, len(variants)) for number, pair in pairs.items()}
        found: dict[tuple[int, ShownOrder], Prompt] = {}
        for number, pair in sorted(pairs.items(), key=lambda item: variant[item[0]]):
            for order in orders:
                replies = (pair.a, pair.b) if order is ShownOrder.AB else (pair.b, pair.a)
                shown = (pair.conversation, pair.principle, *replies)
                if reasoned is not None:
                    found[number, order] = prompts.reasoning(*shown, reasoned)
                else:
                    found[number, order] = prompts.comparison(*shown, variants[variant[number]])
        return found

    def reasoning_seed(self, pair: Pair, order: ShownOrder) -> int:
        """What the reasoning about a pair is drawn from."""
        return seed_for(self.seed, "fitness", pair.conversation.row_id, pair.principle.id, order)

    def _variant(self, pair: Pair, count: int) -> int:
        return int(uniform_for(self.seed, "fitness", pair.conversation.row_id, pair.principle.id) * count)


@dataclass(frozen=True, slots=True)
class CheckedJudge:
    """A model that is asked in a manner."""

    engine: Engine
    manner: JudgeSetup

    def compare(self, pairs: Sequence[Pair], orders: Sequence[ShownOrder] | None = None) -> list[Answer]:
        """An answer for each pair, in `orders` when they are given; raises RecipeError as `JudgeSetup.prompts` does."""
        wanted = self.manner.orders if orders is None else tuple(orders)
        asked = self.manner.prompts(dict(enumerate(pairs)), wanted)
        keys = list(asked)
        answers: dict[tuple[int, ShownOrder], float | UndecidedReason] = {}
        for start in range(0, len(keys), CHUNK):
            answers |= self._ask(pairs, {key: asked[key] for key in keys[start : start + CHUNK]})
        return [{order: answers[number, order] for order in wanted} for number in range(len(pairs))]

    def _ask(
        self, pairs: Sequence[Pair], asked: Mapping[tuple[int, ShownOrder], Prompt]
    ) -> dict[tuple[int, ShownOrder], float | UndecidedReason]:
        least_mass = self.manner.settings.min_letter_mass
        if self.manner.settings.form is FeedbackForm.LETTER:
            return ask_letters(self.engine, asked, least_mass=least_mass)
        seeds = {(number, order): self.manner.reasoning_seed(pairs[number], order) for number, order in asked}
        thoughts = think(self.engine, asked, seeds, self.manner.settings.reasoning)
        verdicts = {key: prompts.verdict(prompt, thoughts[key].text) for key, prompt in asked.items()}
        answers = ask_letters(self.engine, verdicts, least_mass=least_mass)
        return refuse_unreasoned(answers, {key for key in thoughts if thoughts[key].text})


def prompts_of(manner: JudgeSetup, questions: JudgeQuestions) -> frozenset[Prompt]:
    """Every first question of `questions` to a judge, to find those that are new under another constitution."""
    shown = manner.prompts(dict(enumerate(questions.pairs)), manner.orders)
    blanks = manner.prompts(dict(enumerate(questions.blanks)), (ShownOrder.AB,))
    return frozenset((*shown.values(), *blanks.values()))


def judged_pair(answer: Answer, better_is_a: bool, principle_id: str) -> JudgedPair:
    """A judge's answer and the truth; without a label when any order has none, as in the stage."""
    known = {order: value for order, value in answer.items() if isinstance(value, float)}
    whole = bool(known) and len(known) == len(answer)
    p_a = sigmoid(math.fsum(known.values()) / len(known)) if whole else None
    return JudgedPair(p_a, known.get(ShownOrder.AB), known.get(ShownOrder.BA), better_is_a, principle_id)


def is_right(pair: JudgedPair) -> bool:
    """Whether the label prefers the better reply; no label does not, nor does one of exactly one half."""
    return pair.p_a is not None and (pair.p_a > 0.5 if pair.a_better else pair.p_a < 0.5)
