"""From a judge's answers to a pair's label: over samples and orders, over judges, over axes, then clamped.

What is averaged how depends on what makes the answers differ. A liking for a letter adds to the log-odds of one order
and takes from those of the other, so the two orders are averaged in log-odds, where it cancels. Samples of reasoning
are draws of one judge, and the mean of their *probabilities* estimates the chance that this judge gives a letter,
whatever it happens to think on the way (paper, section 4.1: five samples help a little). Judges, and the axes of a
constitution by their weights, are averaged in probabilities too: that is the label to be expected if one of them were
drawn for the pair, and none can outvote the others by being extremely sure. Clamping comes last, and the unclamped
label is kept.

Nothing is guessed. Samples without a usable letter are left out of their order's mean, and an order without any has no
log-odds: the judgement is then undecided, never 0.5. An axis has a label when every judge has one on it, and the pair
has one when every axis has: a mean over those that happened to answer would be another label for every pair.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from solon import prompts
from solon.conversation import Prompt
from solon.digest import uniform_for
from solon.engines.base import Choosing, Engine
from solon.errors import StageError
from solon.feedback.comparisons import (
    AxisDraw,
    ComparisonPlan,
    PlannedPair,
    QuestionKey,
    ShownOrder,
    UndecidedReason,
    pair_key,
)
from solon.feedback.letters import (
    LetterLogprobs,
    Reasoned,
    Votes,
    count_votes,
    letter_form,
    read_letters,
    read_log_odds,
    refuse_unreasoned,
    seen_from_a,
    think,
    votes_log_odds,
)
from solon.prompts import LetterForm
from solon.runs.outcome import Outcome
from solon.runs.rows import AxisLabel, JudgedRow, Judgement, LabelRow
from solon.stats.log_odds import log_sigmoid, log_sum_exp, sigmoid

T = TypeVar("T")
Answer = LetterLogprobs | Votes | UndecidedReason


@dataclass(frozen=True, slots=True)
class Judge:
    """A model that judges, and the form in which its letters are read."""

    engine: Engine
    form: LetterForm

    @classmethod
    def of(cls, engine: Engine) -> Judge:
        """A judge with the letter form of its tokenizer; raises StageError where no form lets the letters compare."""
        return cls(engine, letter_form(engine))


@dataclass(frozen=True, slots=True)
class OrderResult:
    """What one order of one pair on one axis came to: log-odds that reply A is better, or why there are none."""

    log_odds: float | None = None
    why: UndecidedReason | None = None
    votes: Votes | None = None


# What one judge says --------------------------------------------------------------------------------------------------


def judge_pairs(pairs: Sequence[PlannedPair], plan: ComparisonPlan, judge: Judge) -> list[JudgedRow]:
    """One row for each pair with its judgements, one for each axis; all questions go to the engine together."""
    questions: dict[QuestionKey, Prompt] = {}
    for number, planned in enumerate(pairs):
        questions |= plan.questions(number, planned)
    reasoned: dict[QuestionKey, Reasoned] = {}
    if plan.reasoned is not None:
        seeds = {key: plan.seed_of("reasoning", pairs[key.number].pair, key) for key in questions}
        reasoned = think(judge.engine, questions, seeds, plan.settings.reasoning)
        questions = {key: prompts.verdict(prompt, reasoned[key].text) for key, prompt in questions.items()}
    answers = _answers(pairs, questions, plan, judge)
    if plan.reasoned is not None:
        answers = refuse_unreasoned(answers, {key for key, each in reasoned.items() if each.text})
    samples, least_mass = plan.settings.samples, plan.settings.min_letter_mass
    rows = []
    for number, planned in enumerate(pairs):
        judgements = []
        for axis, drawn in enumerate(planned.draws):
            given = _by_order(answers, number, axis, samples)
            written = _by_order(reasoned, number, axis, samples)
            results = {order: _order_result(order, each, least_mass) for order, each in given.items() if each}
            judgements.append(_judgement(planned, drawn, judge, results, _mean_mass(given), written))
        rows.append(JudgedRow(judgements=tuple(judgements)))
    return rows


def _answers(
    pairs: Sequence[PlannedPair], questions: Mapping[QuestionKey, Prompt], plan: ComparisonPlan, judge: Judge
) -> dict[QuestionKey, Answer]:
    if judge.engine.choosing is Choosing.LOGPROBS:
        return dict(read_letters(judge.engine, questions, judge.form))
    # Every reasoning is asked for its share of the votes, so that their number stays about the same.
    each = math.ceil(plan.settings.votes / plan.settings.samples)
    seeds = {
        key: [plan.seed_of("vote", pairs[key.number].pair, key, number) for number in range(each)] for key in questions
    }
    return dict(count_votes(judge.engine, questions, seeds))


def _by_order(found: Mapping[QuestionKey, T], number: int, axis: int, samples: int) -> dict[ShownOrder, list[T]]:
    """What was found for one pair on one axis: by order, in the order of the samples."""
    return {
        order: [found[key] for sample in range(samples) if (key := QuestionKey(number, order, axis, sample)) in found]
        for order in ShownOrder
    }


def _order_result(order: ShownOrder, answers: Sequence[Answer], least_mass: float) -> OrderResult:
    """One order's answers as one; samples without a usable letter do not count, and the first says why none does."""
    votes = [answer for answer in answers if isinstance(answer, Votes)]
    if votes:
        pooled = Votes(sum(each.first for each in votes), sum(each.votes for each in votes))
        return OrderResult(seen_from_a(order, votes_log_odds(*pooled)), votes=pooled)
    usable: list[float] = []
    reasons: list[UndecidedReason] = []
    for answer in answers:
        found = answer if isinstance(answer, UndecidedReason | Votes) else read_log_odds(order, answer, least_mass)
        if isinstance(found, float):
            usable.append(found)
        elif isinstance(found, UndecidedReason):
            reasons.append(found)
    return OrderResult(log_odds_of_mean(usable)) if usable else OrderResult(why=reasons[0])


def _mean_mass(given: Mapping[ShownOrder, Sequence[Answer]]) -> float | None:
    """The mean P(A) + P(B) over the answers that have one."""
    masses = [read.mass for answers in given.values() for read in answers if isinstance(read, LetterLogprobs)]
    return math.fsum(masses) / len(masses) if masses else None


def _judgement(
    planned: PlannedPair,
    drawn: AxisDraw,
    judge: Judge,
    results: Mapping[ShownOrder, OrderResult],
    letter_mass: float | None,
    written: Mapping[ShownOrder, Sequence[Reasoned]],
) -> Judgement:
    """What a judge says of a pair on one axis; an order that was not asked or not answered has no log-odds."""
    whys = [each.why for each in results.values() if each.why]
    why = planned.undecided or (whys[0] if whys else None)
    known = [each.log_odds for each in results.values() if each.log_odds is not None]
    ab, ba = (results.get(order, OrderResult()) for order in ShownOrder)
    return Judgement(
        judge=judge.engine.name,
        axis=drawn.axis,
        principle_id=drawn.principle.id,
        p_a=None if why or not known else sigmoid(math.fsum(known) / len(known)),
        log_odds_ab=ab.log_odds,
        log_odds_ba=ba.log_odds,
        letter_mass=letter_mass,
        votes_ab=ab.votes,
        votes_ba=ba.votes,
        reasoning_ab=_texts(written[ShownOrder.AB]),
        reasoning_ba=_texts(written[ShownOrder.BA]),
        thinking_ab=_thinking(written[ShownOrder.AB]),
        thinking_ba=_thinking(written[ShownOrder.BA]),
        undecided_because=why.value if why else None,
    )


def _texts(written: Sequence[Reasoned]) -> tuple[str, ...] | None:
    return tuple(each.text for each in written) or None


def _thinking(written: Sequence[Reasoned]) -> tuple[str, ...] | None:
    """What a reasoning model wrote to itself before each reasoning; None where it wrote nothing at all."""
    thinking = tuple(each.thinking for each in written)
    return thinking if any(thinking) else None


# From judgements to a label -------------------------------------------------------------------------------------------


def label_of(planned: PlannedPair, by_judge: Sequence[Sequence[Judgement]], plan: ComparisonPlan) -> LabelRow:
    """The row of a pair: its label, the label of each axis, and every judgement behind them, judge by judge."""
    pair, bounds = planned.pair, plan.settings.bounds
    axes = tuple(
        _axis_label(drawn, judgements, bounds)
        for judgements, drawn in zip(zip(*by_judge, strict=True), planned.draws, strict=True)
    )
    why = next((axis.undecided_because for axis in axes if axis.p_a is None), None)
    weights = [axis.weight for axis in axes]
    known = [axis.p_a_unclamped for axis in axes if axis.p_a_unclamped is not None]
    p = mean_probability(known, weights) if len(known) == len(axes) else None
    label = LabelRow(
        row_id=pair.row_id,
        pair=pair.pair,
        prompt=pair.prompt,
        response_a=pair.response_a,
        response_b=pair.response_b,
        p_a_unclamped=p,
        log_odds_ab=_mean_of_order([each.log_odds_ab for judgements in by_judge for each in judgements], weights),
        log_odds_ba=_mean_of_order([each.log_odds_ba for judgements in by_judge for each in judgements], weights),
        principle_id=joined(axis.principle_id for axis in axes),
        judge=joined(judgements[0].judge for judgements in by_judge),
        axes=axes,
        judgements=tuple(each for judgements in by_judge for each in judgements),
        outcome=Outcome.UNDECIDED,
        undecided_because=why,
    )
    return with_label(label, None if p is None else clamped(p, bounds), plan.seed)


def _axis_label(drawn: AxisDraw, judgements: Sequence[Judgement], bounds: tuple[float, float] | None) -> AxisLabel:
    """The label of one axis: the mean of its judges, where each of them has one."""
    why = next((each.undecided_because for each in judgements if each.p_a is None), None)
    known = [each.p_a for each in judgements if each.p_a is not None]
    p = mean_probability(known, [1.0] * len(known)) if len(known) == len(judgements) else None
    return AxisLabel(
        axis=drawn.axis,
        weight=drawn.weight,
        principle_id=drawn.principle.id,
        p_a=None if p is None else clamped(p, bounds),
        p_a_unclamped=p,
        undecided_because=why,
    )


def _mean_of_order(found: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """What one order by itself says of a pair, over judges and axes; None when one of them has none."""
    known = [value for value in found if value is not None]
    if len(known) < len(found):
        return None
    return log_odds_of_mean(known, list(weights) * (len(found) // len(weights)))


def with_label(row: LabelRow, p_a: float | None, seed: int) -> LabelRow:
    """The row with its replies in the order of a label; undecided without one."""
    if p_a is None:
        return replace(row, p_a=None, outcome=Outcome.UNDECIDED, chosen=None, rejected=None, p_chosen=None)
    a, b = row.response_a, row.response_b
    # At exactly one half neither is better; which of them stands first is drawn, never always A.
    a_first = p_a > 0.5 or (p_a == 0.5 and uniform_for(seed, "even pair", *pair_key(row)) < 0.5)
    chosen, rejected = (a, b) if a_first else (b, a)
    p_chosen = p_a if a_first else 1 - p_a
    return replace(row, p_a=p_a, outcome=Outcome.OK, chosen=chosen, rejected=rejected, p_chosen=p_chosen)


def axes_in(row: LabelRow) -> Sequence[AxisLabel]:
    """The labels of the axes in a row; one for the row itself where it was written before there were axes."""
    return row.axes or (AxisLabel(axis="", principle_id=row.principle_id, p_a=row.p_a),)


def on_axis(rows: Sequence[LabelRow], axis: str, seed: int) -> list[LabelRow]:
    """Labelled pairs with the label of one axis in place of the pair's.

    `seed` draws which reply stands first at exactly one half. Raises StageError when no pair was judged on the axis.
    """
    found = []
    for row in rows:
        label = next((each for each in row.axes if each.axis == axis), None)
        if label is not None:
            found.append(with_label(replace(row, principle_id=label.principle_id), label.p_a, seed))
    if not found:
        known = sorted({each.axis for row in rows for each in row.axes})
        raise StageError(
            f"no pair was judged on the axis '{axis}'",
            place="preference.axis",
            remedy=f"The labels have the axes {', '.join(known)}" if known else "Label with --set feedback.axes.NAME=1",
        )
    return found


def joined(names: Iterable[str]) -> str:
    """Different names in one line, in order."""
    return " + ".join(dict.fromkeys(map(str, names)))


# Averages -------------------------------------------------------------------------------------------------------------


def log_odds_of_mean(log_odds: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """The log-odds of the weighted mean of the probabilities with these log-odds; a single one comes back as it is.

    Computed on logarithms, so that probabilities that would round to 0 or 1 keep their finite log-odds. Raises
    ValueError for no numbers at all.
    """
    if not log_odds:
        raise ValueError("a mean needs at least one value")
    if len(log_odds) == 1:
        return log_odds[0]
    scale = [math.log(weight) for weight in weights] if weights is not None else [0.0] * len(log_odds)
    yes = log_sum_exp([own + log_sigmoid(x) for own, x in zip(scale, log_odds, strict=True)])
    no = log_sum_exp([own + log_sigmoid(-x) for own, x in zip(scale, log_odds, strict=True)])
    return yes - no


def mean_probability(probabilities: Sequence[float], weights: Sequence[float]) -> float:
    """The weighted mean; a single probability comes back as it is."""
    if len(probabilities) == 1:
        return probabilities[0]
    return math.fsum(p * w for p, w in zip(probabilities, weights, strict=True)) / math.fsum(weights)


def clamped(probability: float, bounds: tuple[float, float] | None) -> float:
    """The nearest probability within `bounds`; as it is without bounds."""
    return probability if bounds is None else min(max(probability, bounds[0]), bounds[1])
