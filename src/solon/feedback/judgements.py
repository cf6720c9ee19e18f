"""What one judge says of a batch of pairs: its log-odds in each order, on each axis, over its samples of reasoning.

A judgement is a pure record of one model's answers; several of them become a label in `labelling`. Where an order has
several samples, those without a usable letter are left out of its mean, and an order without any has no log-odds: the
judgement is then undecided, never even.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from solon import prompts
from solon.conversation import Prompt
from solon.engines.base import Choosing, Engine
from solon.feedback.averaging import log_odds_of_mean, votes_log_odds
from solon.feedback.comparison_questions import Ask, ComparisonPlan, Drawn, ShownOrder, UndecidedReason, why_not_asked
from solon.feedback.letters import (
    Read,
    Reasoned,
    Votes,
    count_votes,
    letter_form,
    log_odds,
    read_letters,
    seen_from_a,
    think,
)
from solon.prompts import LetterForm
from solon.runs import Row
from solon.runs.rows import STRING
from solon.stats.log_odds import sigmoid

T = TypeVar("T")
Answer = Read | Votes | UndecidedReason
STRINGS = pa.list_(STRING)
JUDGEMENT = pa.struct(
    [
        ("judge", STRING),
        ("axis", STRING),
        ("principle_id", STRING),
        ("p_a", pa.float64()),
        ("log_odds_ab", pa.float64()),
        ("log_odds_ba", pa.float64()),
        ("letter_mass", pa.float64()),
        ("votes_ab", pa.list_(pa.int64())),
        ("votes_ba", pa.list_(pa.int64())),
        ("reasoning_ab", STRINGS),
        ("reasoning_ba", STRINGS),
        ("thinking_ab", STRINGS),
        ("thinking_ba", STRINGS),
        ("undecided_because", STRING),
    ]
)
"""`votes_ab` and `votes_ba` are the votes for the letter A and all votes; `letter_mass` is the mean P(A) + P(B)."""


@dataclass(frozen=True, slots=True)
class Judge:
    """A model that judges, and the form in which its letters are read."""

    engine: Engine
    form: LetterForm

    @classmethod
    def of(cls, engine: Engine) -> Judge:
        """Raises StageError when the engine's tokenizer lets no two letters compare."""
        return cls(engine, letter_form(engine))


@dataclass(frozen=True, slots=True)
class OrderResult:
    """What one order of one pair on one axis came to: log-odds that reply A is better, or why there are none."""

    log_odds: float | None
    why: UndecidedReason | None = None
    votes: Votes | None = None


def judge_pairs(pairs: Sequence[Row], questionnaire: ComparisonPlan, judge: Judge) -> list[Row]:
    """One row for each pair with its `judgements`, one for each axis; all questions go to the engine together."""
    questions: dict[Ask, Prompt] = {}
    for number, pair in enumerate(pairs):
        questions |= questionnaire.questions(number, pair)
    reasoned: dict[Ask, Reasoned] = {}
    if questionnaire.reasoned is not None:
        seeds = {key: questionnaire.seed_of("reasoning", pairs[key.number], key) for key in questions}
        reasoned = think(judge.engine, questions, seeds, questionnaire.settings.reasoning)
        questions = {key: prompts.verdict(prompt, reasoned[key].text) for key, prompt in questions.items()}
    answers = _answers(pairs, questions, questionnaire, judge)
    answers |= {key: UndecidedReason.UNREASONED for key, each in reasoned.items() if not each.text}
    rows: list[Row] = []
    for number, pair in enumerate(pairs):
        judgements = []
        for axis, drawn in enumerate(questionnaire.draws(pair)):
            of = (number, axis, questionnaire.settings.samples)
            written = _of(reasoned, *of)
            judgements.append(
                _judgement(pair, drawn, judge, _of(answers, *of), questionnaire.settings.min_letter_mass)
                | {f"reasoning_{order.value}": [each.text for each in written[order]] or None for order in ShownOrder}
                | {f"thinking_{order.value}": _thinking(written[order]) for order in ShownOrder}
            )
        rows.append({"judgements": judgements})
    return rows


def _thinking(written: Sequence[Reasoned]) -> list[str] | None:
    """What a reasoning model wrote to itself before each reasoning; None where it wrote nothing at all."""
    thinking = [each.thinking for each in written]
    return thinking if any(thinking) else None


def _answers(
    pairs: Sequence[Row], questions: Mapping[Ask, Prompt], questionnaire: ComparisonPlan, judge: Judge
) -> dict[Ask, Answer]:
    if judge.engine.choosing is Choosing.LOGPROBS:
        return dict(read_letters(judge.engine, questions, judge.form))
    settings = questionnaire.settings
    # Every reasoning is asked for its share of the votes, so that their number stays about the same.
    each = math.ceil(settings.votes / settings.samples)
    seeds = {
        key: [questionnaire.seed_of("vote", pairs[key.number], key, number) for number in range(each)]
        for key in questions
    }
    return dict(count_votes(judge.engine, questions, seeds))


def _of(found: Mapping[Ask, T], number: int, axis: int, samples: int) -> dict[ShownOrder, list[T]]:
    """What was found for one pair on one axis: by order, in the order of the samples."""
    return {
        order: [found[key] for sample in range(samples) if (key := Ask(number, order, axis, sample)) in found]
        for order in ShownOrder
    }


def _judgement(
    pair: Row, drawn: Drawn, judge: Judge, answers: Mapping[ShownOrder, Sequence[Answer]], least_mass: float
) -> Row:
    """What a judge says of a pair on one axis; an order that was not asked or not answered has no log-odds."""
    told = {order: _told(order, given, least_mass) for order, given in answers.items() if given}
    whys = [each.why for each in told.values() if each.why]
    why = why_not_asked(pair) or (whys[0] if whys else None)
    log_odds = [each.log_odds for each in told.values() if each.log_odds is not None]
    masses = [read.mass for given in answers.values() for read in given if isinstance(read, Read)]
    row: Row = {
        "judge": judge.engine.name,
        "axis": drawn.axis,
        "principle_id": drawn.principle.id,
        "p_a": None if why or not log_odds else sigmoid(math.fsum(log_odds) / len(log_odds)),
        "letter_mass": math.fsum(masses) / len(masses) if masses else None,
        "undecided_because": why.value if why else None,
    }
    for order, each in told.items():
        row[f"log_odds_{order.value}"] = each.log_odds
        row[f"votes_{order.value}"] = list(each.votes) if each.votes else None
    return row


def _told(order: ShownOrder, answers: Sequence[Answer], least_mass: float) -> OrderResult:
    """One order's answers as one; samples without a usable letter do not count, and the first says why none does."""
    votes = [answer for answer in answers if isinstance(answer, Votes)]
    if votes:
        pooled = Votes(sum(each.first for each in votes), sum(each.votes for each in votes))
        return OrderResult(seen_from_a(order, votes_log_odds(*pooled)), votes=pooled)
    usable: list[float] = []
    whys: list[UndecidedReason] = []
    for answer in answers:
        found = answer if isinstance(answer, UndecidedReason | Votes) else _log_odds(order, answer, least_mass)
        if isinstance(found, float):
            usable.append(found)
        elif isinstance(found, UndecidedReason):
            whys.append(found)
    return OrderResult(log_odds_of_mean(usable)) if usable else OrderResult(None, whys[0])


def _log_odds(order: ShownOrder, read: Read, least_mass: float) -> float | UndecidedReason:
    return UndecidedReason.LETTERLESS if read.mass < least_mass else log_odds(order, *read)
