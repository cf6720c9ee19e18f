"""How good a judge is: right or wrong on comparisons with a known answer, calibration, and what sways it.

The better reply is (A) in every second comparison, so that a bias for a letter earns nothing. A comparison without a
usable answer, or with a label of exactly one half, counts as wrong. Chance is one half. A judge is weak when the
interval of its accuracy includes chance, or is below it: its labels teach noise, so a run stops there unless the recipe
accepts a weak judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from solon.config.recipe import FeedbackForm, FeedbackSettings, WeakJudge
from solon.constitution.constitution import Constitution
from solon.engines.base import Engine
from solon.errors import StageError
from solon.evals.judge_check.as_judge import CheckedJudge, JudgeSetup, is_right, judged_pair
from solon.evals.judge_check.known_answers import JudgeQuestions, PlainComparison, plain_questions
from solon.evals.judge_check.probes import Injected, LetterPrior, injected, letter_prior
from solon.evals.label_accuracy import JudgedPair, calibration_facts
from solon.stats.intervals import Mean, Share, interval, mean, percent, share, wilson

CHANCE = 0.5

CheckJudge = Callable[[Engine], Mapping[str, Any]]
"""Measures a judge on questions with known answers; the stage keeps the result in its facts under `judge_check`."""


@dataclass(frozen=True, slots=True)
class JudgeCheck:
    """What was measured of a judge, on what, and in which form it was asked."""

    what: str
    form: FeedbackForm
    accuracy: Share
    by_kind: Mapping[str, Share]
    by_principle: Mapping[str, Share]
    """By the principles of the constitution, over every comparison that was asked by one of them."""
    orders_agree: Share | None
    position_bias: Mean | None
    """Half the difference of the orders' log-odds: what standing under (A) adds to a reply."""
    undecided: Share
    judged: tuple[JudgedPair, ...]
    letter_prior: LetterPrior | None
    injected: Injected | None

    @property
    def is_weak(self) -> bool:
        """Whether the interval of the accuracy includes chance, or is below it."""
        return self.accuracy.low <= CHANCE

    def facts(self) -> dict[str, Any]:
        """As `solon results --json` and the report read it: the accuracy under `judge`, and the rest."""
        return {
            "judge": {
                **self.accuracy.facts(),
                "chance": CHANCE,
                "what": self.what,
                "form": self.form.value,
                "by_kind": {name: part.facts() for name, part in self.by_kind.items()},
                "by_principle": {name: part.facts() for name, part in self.by_principle.items()},
                "orders_agree": self.orders_agree.facts() if self.orders_agree else None,
                "position_bias": self.position_bias.facts() if self.position_bias else None,
                "undecided": self.undecided.facts(),
                **calibration_facts(self.judged),
                "letter_prior": self.letter_prior.facts() if self.letter_prior else None,
                "injections": self.injected.facts() if self.injected else None,
            }
        }


def check_judge(
    settings: FeedbackSettings,
    constitution: Constitution,
    seed: int,
    questions: JudgeQuestions | None = None,
    weak_judge: WeakJudge = WeakJudge.STOP,
    go_on: str = "solon run RUN --accept-weak-judge",
) -> CheckJudge:
    """What the feedback stage calls to have its judge measured, before it asks for labels.

    The call raises StageError for a weak judge, unless `weak_judge` accepts one; `go_on` is the command that does.
    """

    def assess(engine: Engine) -> Mapping[str, Any]:
        found = read_judge_check(engine, settings, constitution, seed, questions)
        if found.is_weak and weak_judge is WeakJudge.STOP:
            raise StageError(
                f"the judge was {verdict(found)}, so its labels would teach noise",
                place=engine.name,
                remedy=f"Name a better judge for a new folder (--set models.feedback=MODEL), or go on with: {go_on}",
            )
        return found.facts()

    return assess


def verdict(found: JudgeCheck) -> str:
    """The accuracy in words: `right on 53 % [44-62] of 104 plain comparisons, no better than chance`."""
    one = found.accuracy
    than = "better than" if not found.is_weak else "worse than" if one.high < CHANCE else "no better than"
    shown = f"{percent(one.value)} [{interval(one.facts())}]"
    return f"right on {shown} of {one.n} {found.what}, {than} chance"


def read_judge_check(
    engine: Engine,
    settings: FeedbackSettings,
    constitution: Constitution,
    seed: int,
    questions: JudgeQuestions | None = None,
) -> JudgeCheck:
    """Put `questions`, the built-in ones when None, to the judge as the feedback stage would.

    Worked examples come from `constitution`. Raises ValueError without comparisons, and RecipeError as the stage does.
    """
    questions = plain_questions(constitution) if questions is None else questions
    judge = CheckedJudge(engine, JudgeSetup(settings, constitution, seed))
    better_is_a = questions.better_is_a()
    answers = judge.compare(questions.pairs)
    plain, spoilt = answers[: len(better_is_a)], answers[len(better_is_a) :]
    judged = {
        one: judged_pair(answer, is_a, one.principle.id)
        for answer, (one, is_a) in zip(plain, better_is_a.items(), strict=True)
    }
    changes = [
        (injection.kind, judged[one], judged_pair(answer, better_is_a[one], one.principle.id))
        for answer, (injection, one) in zip(spoilt, questions.injected(), strict=True)
    ]
    right = {one: is_right(pair) for one, pair in judged.items()}
    counted = questions.comparisons
    orders = [(judged[one].log_odds_ab, judged[one].log_odds_ba) for one in counted]
    both = [(ab, ba) for ab, ba in orders if ab is not None and ba is not None]
    ids = {principle.id for principle in constitution.preference}
    return JudgeCheck(
        what=questions.what,
        form=settings.form,
        accuracy=_accuracy(counted, right),
        by_kind=_grouped(counted, right, lambda one: one.kind),
        by_principle=_grouped([one for one in judged if one.principle.id in ids], right, lambda one: one.principle.id),
        orders_agree=share((ab > 0) == (ba > 0) for ab, ba in both),
        position_bias=mean([(ab - ba) / 2 for ab, ba in both]),
        undecided=wilson(sum(judged[one].p_a is None for one in counted), len(counted)),
        judged=tuple(judged[one] for one in counted),
        letter_prior=letter_prior(judge, questions.blanks),
        injected=injected(changes),
    )


def _accuracy(comparisons: Sequence[PlainComparison], right: Mapping[PlainComparison, bool]) -> Share:
    if not comparisons:
        raise ValueError("a check needs at least one question")
    return wilson(sum(right[one] for one in comparisons), len(comparisons))


def _grouped(
    comparisons: Iterable[PlainComparison],
    right: Mapping[PlainComparison, bool],
    name: Callable[[PlainComparison], str],
) -> dict[str, Share]:
    groups: dict[str, list[PlainComparison]] = {}
    for one in comparisons:
        groups.setdefault(name(one), []).append(one)
    return {group: _accuracy(members, right) for group, members in groups.items()}
