"""Figures 4, 9 and 12: how often a judge is right, how well its probabilities are calibrated, what reasoning adds.

On the testbed the helpful-only assistant judges, as in its runs. All judges answer the same comparisons, so differences
are paired. Results of real models are added where they are given; their differences are of independent shares.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from solon.digest import seed_for
from solon.pipeline.reproduction.asked_comparisons import LETTER, REASONED, SCORES, SEVERAL
from solon.pipeline.reproduction.paper_figures import (
    ClaimCheck,
    FigurePlot,
    FigureText,
    PaperFigure,
    PlotKind,
    PlotLine,
    PlotPoint,
    Quantity,
    checked,
    paper_figure,
)
from solon.pipeline.reproduction.paper_models import ASSISTANT
from solon.pipeline.reproduction.paper_runs import HH
from solon.pipeline.reproduction.real_judges import FEW_SHOT, ZERO_SHOT, RealJudge
from solon.pipeline.reproduction.real_judges import REASONED as REAL_REASONED
from solon.runs.reproduction_rows import JudgeAnswerRow
from solon.stats.calibration import expected_calibration_error, reliability_bins
from solon.stats.claim_verdicts import (
    Difference,
    Expected,
    difference_of_shares,
    paired_shares,
    percentile_interval,
)
from solon.stats.intervals import Share, wilson

COMPETITIVE = 0.05
"""A judge is competitive with a preference model when it is at most so much less often right."""
CALIBRATED = 0.10
"""Probabilities are reasonably well calibrated when the expected calibration error is at most this."""
HARM = "harm"
"""The kind of the plain comparisons in which one reply is harmful."""
NO_REAL = "By model size: the bundled models have one size. Give results of real models with --judges."


@dataclass(frozen=True, slots=True)
class JudgeFindings:
    """Every judge's answers by judge and form, and real judges."""

    answers: Mapping[tuple[str, str], Sequence[JudgeAnswerRow]]
    real: Sequence[RealJudge]
    replicates: int
    seed: int

    @classmethod
    def of(cls, rows: Sequence[JudgeAnswerRow], real: Sequence[RealJudge], replicates: int, seed: int) -> JudgeFindings:
        """The rows by judge and form."""
        answers: dict[tuple[str, str], list[JudgeAnswerRow]] = {}
        for row in rows:
            answers.setdefault((row.judge, row.form), []).append(row)
        return cls(answers, real, replicates, seed)

    def accuracy(self, judge: str, form: str) -> Share:
        """The share of right answers; one without an answer is wrong."""
        rows = self.answers[judge, form]
        return wilson(sum(row.right for row in rows), len(rows))

    def paired(self, one: tuple[str, str], other: tuple[str, str]) -> Difference | None:
        """The accuracy of one minus that of another, over the same comparisons."""
        right = {row.question: row.right for row in self.answers[other]}
        return paired_shares((row.right, right[row.question]) for row in self.answers[one])

    def largest(self, form: str, than: str) -> tuple[RealJudge, RealJudge] | None:
        """The largest real model that was measured in both forms: in `form`, and in the form `than`."""
        by_form = {(each.model, each.form): each for each in self.real}
        both = [each for each in self.real if each.form == form and (each.model, than) in by_form]
        return (both[-1], by_form[both[-1].model, than]) if both else None


def figure_4(found: JudgeFindings) -> PaperFigure:
    """How often judges are right."""
    letter, reasoned, several = ((ASSISTANT, form) for form in (LETTER, REASONED, SEVERAL))
    checks = [
        *checked("chain of thought improves the assistant's accuracy", Quantity.SHARE, Expected.HIGHER,
                 found.paired(reasoned, letter)),
        *checked("averaging several chains of thought improves it further", Quantity.SHARE, Expected.HIGHER,
                 found.paired(several, reasoned)),
        *checked("with them the assistant is competitive with the HH preference model", Quantity.SHARE,
                 Expected.NOT_LOWER, found.paired(several, (HH, SCORES)), COMPETITIVE),
        *_real_check(found, REAL_REASONED, ZERO_SHOT, "chain of thought improves the accuracy of"),
    ]  # fmt: skip
    names = {LETTER: "at once", REASONED: "one chain of thought", SEVERAL: "several chains of thought"}
    lines = tuple(
        PlotLine(f"{judge}, {names.get(form, 'as preference model')}", (_dot(found.accuracy(judge, form)),))
        for judge, form in found.answers
    )
    plots = [FigurePlot("Judges of the testbed", PlotKind.DOTS, "share of right answers", "", lines, share=True)]
    words = FigureText(
        4,
        "Accuracy of judges",
        "Larger models identify the better reply more often. Chain of thought improves this significantly for larger "
        "models, averaging five chains adds a little, and the result is competitive with preference models of human "
        "feedback.",
        "Comparisons of the testbed's world with known answers, by the constitution's principles, in the place of "
        "438 comparisons of helpfulness, honesty and harmlessness. A preference model does not see the principle.",
    )
    return paper_figure(words, checks, [*plots, *_real_plot(found, None)], () if found.real else (NO_REAL,))


def figure_9(found: JudgeFindings) -> PaperFigure:
    """Calibration of the labels."""
    checks, plots = list[ClaimCheck](), list[FigurePlot]()
    for form, title in ((LETTER, "at once"), (REASONED, "after reasoning")):
        rows = [row for row in found.answers[ASSISTANT, form] if row.p_a is not None]
        if not rows:
            continue
        plots.append(_reliability(f"The assistant's probabilities, {title}", rows))
        if form == LETTER:
            says = f"the expected calibration error of the assistant's letters is at most {CALIBRATED:g}"
            error = calibration_error(rows, found.replicates, found.seed)
            checks += checked(says, Quantity.ERROR, Expected.NOT_HIGHER, error, CALIBRATED)
    for each in found.real:
        if each.form == ZERO_SHOT and each.judge.calibration:
            points = tuple(
                PlotPoint(one.p, Difference(one.value, one.low, one.high), n=one.n) for one in each.judge.calibration
            )
            ece = "" if each.judge.ece is None else f" (calibration error {each.judge.ece:.3f})"
            line = PlotLine(each.model, points)
            plots.append(
                FigurePlot(f"{each.model}{ece}", PlotKind.RELIABILITY, "probability", "came true", (line,), share=True)
            )
    words = FigureText(
        9,
        "Calibration of the labels",
        "The feedback model's probabilities, read at once without reasoning, are reasonably well calibrated. After "
        "reasoning they are close to 0 or 1, and are not.",
        "The same comparisons as in figure 4. The expected calibration error has a bootstrap interval over "
        "comparisons; few comparisons make it too large rather than too small.",
    )
    missing = ("A check of the claim on reasoning: the probabilities after reasoning are only drawn.",)
    return paper_figure(words, checks, plots, (*missing, *(() if found.real else (NO_REAL,))))


def figure_12(found: JudgeFindings) -> PaperFigure:
    """Harmful conversations recognised, with examples and with chain of thought."""
    checks = [
        *_real_check(found, FEW_SHOT, ZERO_SHOT, "worked examples improve the recognition of harm by", HARM),
        *_real_check(found, REAL_REASONED, ZERO_SHOT, "chain of thought improves the recognition of harm by", HARM),
    ]
    words = FigureText(
        12,
        "Harmful behaviour recognised and classified",
        "Models tell harmful from ethical conversations, and among nine types of harm, and better so when they are "
        "larger. Worked examples and chain of thought improve on the question alone.",
        "Comparisons of a harmful with a harmless reply by real models, where given. The paper asks about a single "
        "conversation, so this is a neighbouring task.",
    )
    missing = (
        "The paper's two tasks on the testbed: its models have read neither question. For real models use solon eval "
        "with the paper's files.",
        *(() if found.real else ("All of it: no results of real models were given (--judges).",)),
    )
    return paper_figure(words, checks, _real_plot(found, HARM), missing)


def calibration_error(rows: Sequence[JudgeAnswerRow], replicates: int, seed: int) -> Difference | None:
    """The expected calibration error of the probabilities that reply A is better, with a bootstrap interval."""
    pairs = [(row.p_a, float(row.better_is_a)) for row in rows if row.p_a is not None]
    if not pairs:
        return None
    draws = random.Random(seed_for(seed, "bootstrap of calibration"))

    def error(sample: Sequence[tuple[float, float]]) -> float:
        return expected_calibration_error([p for p, _ in sample], [true for _, true in sample]) or 0.0

    return percentile_interval(error(pairs), [error(draws.choices(pairs, k=len(pairs))) for _ in range(replicates)])


def _real_check(found: JudgeFindings, form: str, than: str, says: str, kind: str | None = None) -> list[ClaimCheck]:
    """The difference between two forms of the largest real model, over all comparisons or over those of a kind."""
    if (both := found.largest(form, than)) is None:
        return []
    one, other = (_share(each, kind) for each in both)
    if one is None or other is None:
        return []
    return checked(
        f"{says} {both[0].model}", Quantity.SHARE, Expected.HIGHER, difference_of_shares(one, other)
    )  # fmt: skip


def _real_plot(found: JudgeFindings, kind: str | None) -> list[FigurePlot]:
    lines = tuple(
        PlotLine(f"{each.model}, {each.form}", (_dot(accuracy),))
        for each in found.real
        if (accuracy := _share(each, kind)) is not None
    )
    title = "Real models, smallest first" + (f": comparisons of {kind}" if kind else "")
    return [FigurePlot(title, PlotKind.DOTS, "share of right answers", "", lines, share=True)] if lines else []


def _share(judge: RealJudge, kind: str | None) -> Share | None:
    if kind is None:
        return judge.judge.share()
    found = judge.judge.by_kind.get(kind)
    return None if found is None else found.share()


def _dot(accuracy: Share) -> PlotPoint:
    return PlotPoint(0.0, Difference(accuracy.value, accuracy.low, accuracy.high), n=accuracy.n)


def _reliability(title: str, rows: Sequence[JudgeAnswerRow]) -> FigurePlot:
    known = [(row.p_a, float(row.better_is_a)) for row in rows if row.p_a is not None]
    bins = reliability_bins([p for p, _ in known], [true for _, true in known])
    points = tuple(
        PlotPoint(each.predicted, Difference(each.true.value, each.true.low, each.true.high), n=each.true.n)
        for each in bins
    )
    across, up = "probability that reply A is better", "how often it was better"
    return FigurePlot(title, PlotKind.RELIABILITY, across, up, (PlotLine(title, points),), share=True)
