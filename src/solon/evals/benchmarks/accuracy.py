"""From what a model answered to accuracies, calibration and the letters' pull.

An option's log-probability is normalised over the letters, averaged in probability over the chains of thought of one
rotation (paper, section 2) and then in log space over the rotations; softmax turns the averages into probabilities. For
two options that is the log-odds averaged over both orders. Whatever a letter adds to its log-probability in every
question drops out exactly, so a judge that knows nothing but letters ends in an exact tie; a tie counts as one over the
number of tied options. A question without an answer counts as not right, and is counted; it never gets a guess.

Calibration is that of the option held most probable: its probability against how often it was right (Guo et al. 2017),
with the expected calibration error over ten equal bins. The Brier score is half the sum of squares over the options,
which for two options is the square of one minus the right one's probability.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from solon.evals.benchmarks.multiple_choice import shown
from solon.evals.benchmarks.question_files import Question, TaskType
from solon.prompts import letters
from solon.runs.evaluation_rows import ChoiceAnswer
from solon.runs.facts import (
    AnswerFigures,
    Baselines,
    Calibration,
    CalibrationBin,
    FirstSample,
    LetterPull,
    Majority,
    OptionOrders,
)
from solon.stats.calibration import expected_calibration_error, reliability_bins
from solon.stats.intervals import Share, mean, wilson
from solon.stats.log_odds import log_softmax, log_sum_exp


@dataclass(frozen=True, slots=True)
class Judged:
    """An answered question: probabilities of the options as in the file, and the credit that the answer earns."""

    probabilities: tuple[float, ...]
    correct: int
    credit: float
    """1 when the right option is the most probable, 1/m when it is among m that are equally so, else 0."""
    by_rotation: dict[int, float]
    """The credit of each rotation by itself."""
    chosen: frozenset[int]
    """Every option that is most probable in some rotation by itself."""

    @property
    def confidence(self) -> float:
        """The probability of the most probable option."""
        return max(self.probabilities)

    @property
    def brier(self) -> float:
        """Half the sum of squared differences from the truth."""
        truth = [float(place == self.correct) for place in range(len(self.probabilities))]
        return math.fsum((p - t) ** 2 for p, t in zip(self.probabilities, truth, strict=True)) / 2


def judged(row: ChoiceAnswer, samples: int | None = None) -> Judged | None:
    """The answer in a row, from its first `samples` chains of thought (all when None); None when one is missing.

    Chains that did not come to an end are left out; the answer is missing when a rotation has none left.
    """
    answers = []
    for given in row.log_probs:
        known = [log_softmax(values) for values in given[:samples] if values is not None]
        if not known:
            return None
        answers.append([log_sum_exp(column) - math.log(len(known)) for column in zip(*known, strict=True)])
    count, correct = len(answers[0]), row.correct
    by_option: list[list[float]] = [[] for _ in range(count)]
    by_rotation: dict[int, float] = {}
    chosen: set[int] = set()
    for rotation, values in zip(row.rotations, answers, strict=True):
        places = shown(rotation, count)
        for place, value in zip(places, values, strict=True):
            by_option[place].append(value)
        by_rotation[rotation] = _credit(values, places.index(correct))
        chosen |= {place for place, value in zip(places, values, strict=True) if value == max(values)}
    # `fsum` rounds once, so that equal terms in another order give equal sums and a tie stays a tie.
    scores = [math.fsum(values) / len(values) for values in by_option]
    probabilities = tuple(math.exp(value) for value in log_softmax(scores))
    return Judged(probabilities, correct, _credit(scores, correct), by_rotation, frozenset(chosen))


def accuracy(answers: Sequence[Judged | None]) -> Share:
    """The share of right answers, ties in part and missing ones not right; raises ValueError without questions."""
    return wilson(math.fsum(each.credit for each in answers if each), len(answers))


def calibration(answers: Sequence[Judged | None]) -> Calibration:
    """Confidence against the truth over the answered questions."""
    known = [each for each in answers if each]
    figures = [each.confidence for each in known], [each.credit for each in known]
    bins = (
        CalibrationBin(each.predicted, each.true.value, each.true.low, each.true.high, each.true.n)
        for each in reliability_bins(*figures)
    )
    brier = math.fsum(each.brier for each in known) / len(known) if known else None
    return Calibration(expected_calibration_error(*figures), brier, tuple(bins))


def baselines(questions: Sequence[Question]) -> Baselines:
    """What no model is needed for: chance, always the file's most frequent letter, and the longer of two replies."""
    count, n = len(questions[0].options), len(questions)
    # On a tie the first letter, whatever order the rows come in.
    place, often = min(Counter(each.correct for each in questions).items(), key=lambda item: (-item[1], item[0]))
    frequent, longer = wilson(often, n), None
    if questions[0].kind is TaskType.COMPARISON:
        credits = [_credit([float(len(option)) for option in each.options], each.correct) for each in questions]
        longer = wilson(math.fsum(credits), n)
    letter = letters(count)[place]
    return Baselines(1 / count, Majority(frequent.value, frequent.low, frequent.high, frequent.n, letter), longer)


def figures(questions: Sequence[Question], rows: Sequence[ChoiceAnswer], samples: int) -> AnswerFigures:
    """Every figure of one evaluation: `rows` are the answers to `questions`, in order."""
    answers = [judged(row) for row in rows]
    known = [each for each in answers if each]
    whys = Counter(row.unanswered_because or "" for row, answer in zip(rows, answers, strict=True) if answer is None)
    classified = questions[0].kind is TaskType.CLASSIFICATION
    return AnswerFigures(
        questions=len(rows),
        undecided=sum(whys.values()),
        undecided_because=dict(sorted(whys.items())),
        unfinished_samples=sum(values is None for row in rows for given in row.log_probs for values in given),
        accuracy=accuracy(answers),
        answered=accuracy(known) if known else None,
        calibration=calibration(answers),
        baselines=baselines(questions),
        orders=_orders(answers),
        letters=_letters(rows),
        first_sample=_first_sample([judged(row, 1) for row in rows]) if samples > 1 else None,
        by_label=_by_label(questions, answers) if classified else None,
    )


def _first_sample(first: Sequence[Judged | None]) -> FirstSample:
    return FirstSample(accuracy(first), calibration(first), list(first).count(None))


def _orders(answers: Sequence[Judged | None]) -> OptionOrders | None:
    """What the order of options does: accuracy as the file has them, the range over all, how often all agree."""
    known = [each for each in answers if each and len(each.by_rotation) > 1]
    if not known:
        return None
    n = len(answers)
    turned = known[0].by_rotation
    each_one = {rotation: math.fsum(each.by_rotation[rotation] for each in known) / n for rotation in turned}
    return OptionOrders(
        as_given=wilson(math.fsum(each.by_rotation[0] for each in known), n),
        one_order=math.fsum(each_one.values()) / len(each_one),
        lowest=min(each_one.values()),
        highest=max(each_one.values()),
        same_option=wilson(sum(len(each.chosen) == 1 for each in known), len(known)),
    )


def _letters(rows: Sequence[ChoiceAnswer]) -> LetterPull | None:
    """The letters' own pull, `prior`, and how much probability all letters together get, `mass`.

    As every option stands once under every letter, the mean log-probability of a letter owes nothing to the options.
    """
    raw = [values for row in rows for given in row.log_probs for values in given if values is not None]
    if not raw or any(len(row.rotations) < 2 for row in rows):
        return None
    columns = zip(*map(log_softmax, raw), strict=True)
    prior = log_softmax([math.fsum(column) / len(raw) for column in columns])
    mass = mean([min(1.0, math.exp(log_sum_exp(values))) for values in raw])
    names = letters(len(prior))
    return LetterPull({name: math.exp(value) for name, value in zip(names, prior, strict=True)}, mass)


def _by_label(questions: Sequence[Question], answers: Sequence[Judged | None]) -> dict[str, Share]:
    """By the right option's words: how many of its questions were answered right."""
    grouped: dict[str, list[Judged | None]] = {}
    for question, answer in zip(questions, answers, strict=True):
        grouped.setdefault(question.options[question.correct], []).append(answer)
    return {label: accuracy(members) for label, members in sorted(grouped.items())}


def _credit(values: Sequence[float], correct: int) -> float:
    best = max(values)
    return 1 / values.count(best) if values[correct] == best else 0.0
