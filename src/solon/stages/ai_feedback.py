"""Stage 06-ai-feedback: a model says which of two replies is better (paper, section 4.1).

For each pair a principle is drawn at random; the feedback model reads the conversation, the principle and the replies
as options (A) and (B), behind worked examples that each carry a principle of their own; the log-probabilities of the
two letters, normalised against each other, are the label. In the reasoned form the model first thinks step by step, and
its letters are read after what it wrote. A pair is shown in both orders and the two log-odds are averaged, which takes
out a judge's liking for a letter (or in one order, drawn per pair, as in the paper). Nothing is made up: a pair that
failed or whose replies are the same is not asked, and where the judge gave no usable preference, a letter's
log-probability missing or both letters equal to the last bit, the pair is undecided and has no label.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa

from solon import wording
from solon.constitution import ComparisonExample, Constitution, PreferencePrinciple, ReasonedExample, draw
from solon.conversation import Prompt
from solon.digest import digest, seed_for, uniform_for
from solon.engines.base import Engine, Finish
from solon.errors import RecipeError
from solon.outcome import Outcome
from solon.recipe import Drawing, FeedbackForm, FeedbackSettings, OptionOrder
from solon.runs import Artefact, Row, StageFolder
from solon.stages.asking import ask, has_room
from solon.stages.label_quality import label_quality
from solon.stages.tables import MESSAGES, STRING, Assess, assistant_turn, prompt_in

SCHEMA = pa.schema(
    [
        ("row_id", STRING),
        ("pair", pa.int64()),
        ("prompt", MESSAGES),
        ("chosen", MESSAGES),
        ("rejected", MESSAGES),
        ("p_chosen", pa.float64()),
        ("response_a", STRING),
        ("response_b", STRING),
        ("p_a", pa.float64()),
        ("log_odds_ab", pa.float64()),
        ("log_odds_ba", pa.float64()),
        ("principle_id", STRING),
        ("judge", STRING),
        ("reasoning_ab", STRING),
        ("reasoning_ba", STRING),
        ("outcome", STRING),
        ("undecided_because", STRING),
    ]
)
Shot = tuple[ComparisonExample, PreferencePrinciple, str]
"""A worked comparison, its own principle, and the letter under which the better reply is shown."""

Thought = tuple[ReasonedExample, PreferencePrinciple]
"""A worked comparison with its reasoning, and its own principle."""


class Order(StrEnum):
    """Which reply stands under (A)."""

    AB = "ab"
    BA = "ba"


class Why(StrEnum):
    """Why a pair has no label."""

    FAILED = "a reply failed"
    IDENTICAL = "the replies are the same"
    NO_ROOM = "the question is longer than the window"
    UNREASONED = "the reasoning is empty or cut off"
    NOT_TOLD = "a letter's probability is missing"
    TIE = "both letters are equally probable"


@dataclass(frozen=True, slots=True)
class FeedbackInputs:
    """The run's seed, the constitution, the pairs (05-response-pairs), how many are judged at once, and a measure."""

    seed: int
    constitution: Constitution
    pairs: Artefact
    chunk: int = 128
    assess: Assess | None = None
    """Measures the judge on questions with known answers, for the facts."""


@dataclass(frozen=True, slots=True)
class Label:
    """What the judge said: log-odds that reply A is better, as seen in each order that was asked."""

    log_odds: Mapping[Order, float | None]
    why: Why | None = None

    @property
    def p_a(self) -> float | None:
        """The probability that reply A is better, or None when the pair is undecided."""
        asked = [value for value in self.log_odds.values() if value is not None]
        return None if self.why or not asked else sigmoid(math.fsum(asked) / len(asked))


def run(settings: FeedbackSettings, inputs: FeedbackInputs, engine: Engine, out: StageFolder) -> Artefact:
    """Draw a principle for each pair, ask for the letters in the orders of `settings`, publish the soft labels."""
    variants = few_shot_variants(settings, inputs.constitution, inputs.seed)
    reasoned = worked_reasoning(settings, inputs.constitution, inputs.seed)
    # Pairs with the same worked examples are judged together, so that an engine reads those once.
    pairs = sorted(inputs.pairs.rows(), key=lambda row: variant_of(inputs.seed, row, len(variants)))

    def judge(batch: Sequence[Row]) -> list[Row]:
        principles = [draw(inputs.constitution.preference, inputs.seed, *pair_key(row)) for row in batch]
        questions: dict[tuple[int, Order], Prompt] = {}
        for number, (row, principle) in enumerate(zip(batch, principles, strict=True)):
            examples = variants[variant_of(inputs.seed, row, len(variants))]
            if why_not_asked(row) is None:
                for order in orders(settings.order, inputs.seed, *pair_key(row)):
                    questions[number, order] = _question(row, principle, order, examples, reasoned)
        thoughts: dict[tuple[int, Order], str] = {}
        if reasoned is not None:
            seeds = {key: seed_for(inputs.seed, "reasoning", *pair_key(batch[key[0]]), key[1]) for key in questions}
            thoughts = think(engine, questions, seeds, settings.reasoning)
            questions = {key: wording.verdict(prompt, thoughts[key]) for key, prompt in questions.items()}
        answers = ask_letters(engine, questions)
        answers |= {key: Why.UNREASONED for key, thought in thoughts.items() if not thought}
        return [
            _row(row, principle, _label(row, number, answers), engine, inputs.seed)
            | {f"reasoning_{order.value}": thoughts.get((number, order)) for order in Order}
            for number, (row, principle) in enumerate(zip(batch, principles, strict=True))
        ]

    # Before any label: a judge that is too weak stops the stage here, and nothing was spent on it.
    fitness = {"fitness": inputs.assess(engine)} if inputs.assess else {}
    rows = out.map("labels", pairs, judge, chunk=inputs.chunk)
    quality = {"quality": label_quality(rows, inputs.constitution)}
    facts = {"judge": engine.name, **label_facts(rows, inputs.constitution), **quality, **fitness}
    return out.publish(rows, SCHEMA, facts=facts)


def few_shot_variants(
    settings: FeedbackSettings, constitution: Constitution, seed: int
) -> tuple[tuple[Shot, ...], ...]:
    """The `prefix_variants` arrangements of worked comparisons in use; each pair has one of them in front.

    In each, `few_shot` examples stand in a drawn order, every one with a principle of its own draw; as nearly as
    possible half of the better replies stand under each letter. Raises RecipeError when there are too few examples.
    """
    known = constitution.comparison_examples
    count = settings.few_shot
    if count > len(known):
        raise RecipeError(
            f"{count} worked comparisons are asked for, but the constitution has {len(known)}",
            place="feedback.few_shot",
            remedy=f"Write more under 'examples: comparison:', or --set feedback.few_shot={len(known)}",
        )
    return tuple(_arrangement(constitution, count, seed, variant) for variant in range(settings.prefix_variants))


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
    return tuple(
        (example, draw(constitution.preference, seed, "reasoned comparison", index))
        for index, example in enumerate(known[: settings.few_shot])
    )


def _arrangement(constitution: Constitution, count: int, seed: int, variant: int) -> tuple[Shot, ...]:
    known = constitution.comparison_examples
    chosen = sorted(range(len(known)), key=lambda index: digest(seed, "worked comparison", variant, index))[:count]
    # Which half of the places gets which letter is drawn, so that letters neither alternate nor favour one side.
    places = sorted(range(count), key=lambda place: digest(seed, "letter", variant, place))
    first, second = wording.LETTERS if uniform_for(seed, "first letter", variant) < 0.5 else wording.LETTERS[::-1]
    letters = {place: first if rank < (count + 1) // 2 else second for rank, place in enumerate(places)}
    return tuple(
        (known[index], draw(constitution.preference, seed, "worked comparison", variant, index), letters[place])
        for place, index in enumerate(chosen)
    )


def pair_key(pair: Row) -> tuple[str, int]:
    """What every draw for a pair hangs on: its prompt and its number."""
    return pair["row_id"], pair["pair"]


def variant_of(seed: int, pair: Row, count: int) -> int:
    """Which of `count` arrangements of worked comparisons stands in front of a pair."""
    return int(uniform_for(seed, "prefix variant", *pair_key(pair)) * count)


def orders(setting: OptionOrder, seed: int, *key: object) -> tuple[Order, ...]:
    """The orders in which a pair is shown: both, or one drawn for its key."""
    if setting is OptionOrder.BOTH:
        return (Order.AB, Order.BA)
    return (Order.AB,) if uniform_for(seed, "option order", *key) < 0.5 else (Order.BA,)


def why_not_asked(pair: Row) -> Why | None:
    """Why a pair is not put to the judge, if so."""
    if pair["outcome"] != Outcome.OK:
        return Why.FAILED
    return Why.IDENTICAL if pair["response_a"] == pair["response_b"] else None


def _question(
    pair: Row,
    principle: PreferencePrinciple,
    order: Order,
    examples: Sequence[Shot],
    reasoned: Sequence[Thought] | None,
) -> Prompt:
    replies = (pair["response_a"], pair["response_b"])
    first, second = replies if order is Order.AB else replies[::-1]
    if reasoned is not None:
        return wording.reasoning(prompt_in(pair), principle, first, second, reasoned)
    return wording.comparison(prompt_in(pair), principle, first, second, examples)


def think(
    engine: Engine,
    questions: Mapping[tuple[int, Order], Prompt],
    seeds: Mapping[tuple[int, Order], int],
    drawing: Drawing,
) -> dict[tuple[int, Order], str]:
    """What the judge writes before its letter, per question; empty where it wrote nothing or did not come to an end."""
    written = ask(engine, list(questions.values()), [seeds[key] for key in questions], drawing)
    return {
        key: completion.text if completion.finish in (Finish.END, Finish.STOP) else ""
        for key, completion in zip(questions, written, strict=True)
    }


def ask_letters(engine: Engine, questions: Mapping[tuple[int, Order], Prompt]) -> dict[tuple[int, Order], float | Why]:
    """Per question the log-odds that reply A is better, or why there is none; one call of the engine for all."""
    fitting = {key: prompt for key, prompt in questions.items() if has_room(engine, prompt, 1)}
    answers: dict[tuple[int, Order], float | Why] = dict.fromkeys(questions, Why.NO_ROOM)
    if fitting:
        letters = engine.choose(list(fitting.values()), wording.LETTERS)
        answers |= {key: log_odds(key[1], *pair) for key, pair in zip(fitting, letters, strict=True)}
    return answers


def log_odds(order: Order, first: float, second: float) -> float | Why:
    """Log-odds that reply A is better, from the log-probabilities of the letters (A) and (B) in one order.

    Normalising over the two letters leaves their difference as it is: log p/(1-p) = log P(letter A) - log P(letter B).
    """
    if not (math.isfinite(first) and math.isfinite(second)):
        return Why.NOT_TOLD
    if first == second:
        return Why.TIE
    return float(first - second if order is Order.AB else second - first)


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _label(pair: Row, number: int, answers: Mapping[tuple[int, Order], float | Why]) -> Label:
    given = {order: answers[number, order] for order in Order if (number, order) in answers}
    told = {order: None if isinstance(value, Why) else value for order, value in given.items()}
    whys = [value for value in given.values() if isinstance(value, Why)]
    return Label(told, why_not_asked(pair) or (whys[0] if whys else None))


def _row(pair: Row, principle: PreferencePrinciple, label: Label, engine: Engine, seed: int) -> Row:
    a, b, p_a = pair["response_a"], pair["response_b"], label.p_a
    row: Row = {
        "row_id": pair["row_id"],
        "pair": pair["pair"],
        "prompt": pair["prompt"],
        "chosen": None,
        "rejected": None,
        "p_chosen": None,
        "response_a": a,
        "response_b": b,
        "p_a": p_a,
        "log_odds_ab": label.log_odds.get(Order.AB),
        "log_odds_ba": label.log_odds.get(Order.BA),
        "principle_id": principle.id,
        "judge": engine.name,
        "outcome": (Outcome.UNDECIDED if p_a is None else Outcome.OK).value,
        "undecided_because": label.why.value if label.why else None,
    }
    if p_a is not None:
        # At exactly one half neither is better; which of them stands first is drawn, never always A.
        a_first = p_a > 0.5 or (p_a == 0.5 and uniform_for(seed, "even pair", *pair_key(pair)) < 0.5)
        chosen, rejected = (a, b) if a_first else (b, a)
        row |= {"chosen": assistant_turn(chosen), "rejected": assistant_turn(rejected)}
        row["p_chosen"] = p_a if a_first else 1 - p_a
    return row


def label_facts(rows: Sequence[Row], constitution: Constitution) -> dict[str, Any]:
    """What the labels look like: swap agreement, the pull of the letter A, shares of undecided, counts by principle.

    `position_bias` is half the mean difference of the two orders' log-odds: what standing under (A) adds to a reply.
    """
    labels = [row["p_a"] for row in rows if row["p_a"] is not None]
    both = [
        (row["log_odds_ab"], row["log_odds_ba"])
        for row in rows
        if row["log_odds_ab"] is not None and row["log_odds_ba"] is not None
    ]
    whys = [row["undecided_because"] for row in rows if row["undecided_because"]]
    return {
        "pairs": len(rows),
        "asked_in_both_orders": len(both),
        "orders_agree": _mean([float((ab > 0) == (ba > 0)) for ab, ba in both]),
        "position_bias": _mean([(ab - ba) / 2 for ab, ba in both]),
        "undecided": _mean([float(row["p_a"] is None) for row in rows]),
        "undecided_because": {why.value: whys.count(why.value) for why in Why if why.value in whys},
        "mean_p_a": _mean(labels),
        "mean_p_chosen": _mean([max(p, 1 - p) for p in labels]),
        "principles": {p.id: sum(row["principle_id"] == p.id for row in rows) for p in constitution.preference},
    }


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
