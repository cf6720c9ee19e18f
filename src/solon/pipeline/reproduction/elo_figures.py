"""Figures 2, 3 and 8: helpfulness and harmlessness in Elo, of final models and over the steps of training.

Final models are the last snapshots. The paper gives no rule for "helpful at a given level"; here a model is not less
helpful when its helpfulness is at most `ELO_MARGIN` points lower, which is a win rate of 43 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from solon.comparisons.elo_ratings import EloSettings, ModeRatings, elo_differences, elo_ratings
from solon.comparisons.vote_rows import RatedVote, VoteMode
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
from solon.pipeline.reproduction.paper_models import PRETRAINED
from solon.pipeline.reproduction.paper_runs import HELPFUL, HH, POLICY_RUNS, RL_CAI_COT, RL_CAI_LETTER
from solon.stats.claim_verdicts import Difference, Expected

ELO_MARGIN = 50.0
HELP, HARMLESS = VoteMode.HELPFULNESS, VoteMode.HARMLESSNESS
ONE_SIZE = "Models of several sizes: the bundled models have one size."
TITLES: Mapping[str, str] = {
    HELPFUL: "helpful RLHF",
    HH: "HH RLHF",
    RL_CAI_LETTER: "RL-CAI",
    RL_CAI_COT: "RL-CAI with CoT",
}
"""The policies in the paper's words."""
Courses = Mapping[str, Sequence[tuple[int, str]]]
"""By run the steps of its policy and the names of its models, the start (step 0) first."""


@dataclass(frozen=True, slots=True)
class EloFindings:
    """All ratings, and differences on request."""

    votes: Sequence[RatedVote]
    ratings: Mapping[VoteMode, ModeRatings]
    courses: Courses
    supervised: str
    """The model SL-CAI that RL-CAI starts from."""
    settings: EloSettings

    @classmethod
    def of(cls, votes: Sequence[RatedVote], courses: Courses, supervised: str, settings: EloSettings) -> EloFindings:
        """The ratings of both modes, with the pretrained model at 0; raises InputError where no vote decides."""
        ratings = {each.mode: each for each in elo_ratings(votes, settings)}
        return cls(votes, ratings, courses, supervised, settings)

    def last(self, run: str) -> str:
        """The name of a run's final policy."""
        return self.courses[run][-1][1]

    def rating(self, mode: VoteMode, model: str) -> Difference | None:
        """A model's rating, where the votes give one with an interval."""
        found = self.ratings.get(mode)
        own = next((each for each in found.ratings if each.model == model), None) if found else None
        if own is None or own.low is None or own.high is None:
            return None
        return Difference(own.elo, own.low, own.high)

    def warnings(self) -> list[str]:
        """What the ratings do not support."""
        return [f"{mode}: {line}" for mode, found in self.ratings.items() for line in found.warnings]


@dataclass(frozen=True, slots=True)
class _Compared:
    """A statement about two models."""

    mode: VoteMode
    one: str
    other: str
    expected: Expected
    says: str
    margin: float = 0.0


def _checks(found: EloFindings, compared: Sequence[_Compared]) -> list[ClaimCheck]:
    differences = elo_differences(found.votes, [(each.one, each.other) for each in compared], found.settings)
    checks: list[ClaimCheck] = []
    for each in compared:
        difference = differences.get((each.mode, each.one, each.other))
        figure = None if difference is None else Difference(difference.value, difference.low, difference.high)
        checks += checked(each.says, Quantity.ELO, each.expected, figure, each.margin)
    return checks


def figure_2(found: EloFindings) -> PaperFigure:
    """Harmlessness against helpfulness over the course of each policy."""
    hh = found.last(HH)
    compared = []
    for run in (RL_CAI_LETTER, RL_CAI_COT):
        own, title = found.last(run), TITLES[run]
        compared += [
            _Compared(HARMLESS, own, hh, Expected.HIGHER, f"{title} is more harmless than HH RLHF"),
            _Compared(HELP, own, hh, Expected.NOT_LOWER, f"{title} is not less helpful than HH RLHF", ELO_MARGIN),
        ]
    lines = [PlotLine(TITLES[run], tuple(_across(found, found.courses[run]))) for run in POLICY_RUNS]
    plot = FigurePlot(
        "Each line is a policy over its snapshots", PlotKind.SCATTER, "helpfulness Elo", "harmlessness Elo",
        tuple(line for line in lines if line.points),
    )  # fmt: skip
    words = FigureText(
        2,
        "Harmlessness against helpfulness",
        "Policies trained from AI feedback are less harmful than those from human feedback at a given level of "
        "helpfulness: they move the frontier outwards.",
        "Elo from the oracle's votes on held-out prompts by simulated users, in the place of crowdworkers'.",
    )
    return paper_figure(words, _checks(found, compared), [plot], (ONE_SIZE,))


def figure_3(found: EloFindings) -> PaperFigure:
    """Both ratings of all final models."""
    helpful, hh, sl_cai = found.last(HELPFUL), found.last(HH), found.supervised
    letter, cot = found.last(RL_CAI_LETTER), found.last(RL_CAI_COT)
    compared = [
        _Compared(HELP, helpful, hh, Expected.HIGHER, "helpful RLHF is more helpful than HH RLHF"),
        _Compared(HARMLESS, helpful, hh, Expected.LOWER, "helpful RLHF is less harmless than HH RLHF"),
        _Compared(HELP, sl_cai, helpful, Expected.LOWER, "SL-CAI is less helpful than helpful RLHF"),
        _Compared(HELP, sl_cai, hh, Expected.LOWER, "SL-CAI is less helpful than HH RLHF"),
        _Compared(HARMLESS, sl_cai, helpful, Expected.HIGHER, "SL-CAI is more harmless than helpful RLHF"),
        _Compared(HARMLESS, sl_cai, hh, Expected.LOWER, "SL-CAI is less harmless than HH RLHF"),
        *(
            _Compared(HARMLESS, one, other, Expected.HIGHER, f"{title} is more harmless than {than}")
            for one, title in ((letter, TITLES[RL_CAI_LETTER]), (cot, TITLES[RL_CAI_COT]))
            for other, than in ((helpful, "helpful RLHF"), (hh, "HH RLHF"), (sl_cai, "SL-CAI"))
        ),
        _Compared(HARMLESS, cot, letter, Expected.HIGHER, "CoT makes RL-CAI more harmless"),
        _Compared(HELP, cot, letter, Expected.LOWER, "CoT makes RL-CAI less helpful"),
    ]
    finals = {PRETRAINED: PRETRAINED, "SL-CAI": sl_cai, **{TITLES[run]: found.last(run) for run in POLICY_RUNS}}
    plots = [
        FigurePlot(
            f"{mode.capitalize()} of the final models", PlotKind.DOTS, f"{mode} Elo", "",
            tuple(
                PlotLine(title, (PlotPoint(0.0, rating),))
                for title, model in finals.items()
                if (rating := found.rating(mode, model)) is not None
            ),
        )
        for mode in VoteMode
    ]  # fmt: skip
    words = FigureText(
        3,
        "Elo of all models",
        "Helpful RLHF is more helpful and more harmful than HH RLHF. SL-CAI is less helpful than both, and its "
        "harmlessness lies between them. RL-CAI is significantly more harmless than all of them; chain of thought "
        "makes it slightly more harmless and slightly less helpful.",
        "The same votes as in figure 2; the final policies, SL-CAI and the pretrained model.",
    )
    return paper_figure(words, _checks(found, compared), plots, (ONE_SIZE,))


def figure_8(found: EloFindings) -> PaperFigure:
    """Both ratings over the steps of reinforcement learning."""
    compared = [
        _Compared(
            mode, found.supervised, PRETRAINED, Expected.HIGHER, f"SL-CAI is more {word} than the pretrained model"
        )
        for mode, word in ((HELP, "helpful"), (HARMLESS, "harmless"))
    ]
    for run in (HELPFUL, HH):
        middle, last = middle_and_last(found.courses[run])
        says = f"{TITLES[run]} becomes less harmless from step {middle[0]} to {last[0]}"
        if middle != last:
            compared.append(_Compared(HARMLESS, last[1], middle[1], Expected.LOWER, says))
    for run in (RL_CAI_LETTER, RL_CAI_COT):
        start, last = found.courses[run][0], found.courses[run][-1]
        says = f"{TITLES[run]} becomes more harmless from step {start[0]} to {last[0]}"
        compared.append(_Compared(HARMLESS, last[1], start[1], Expected.HIGHER, says))
    plots = [
        FigurePlot(
            f"{mode.capitalize()} over training", PlotKind.LINES, "RL step", f"{mode} Elo",
            tuple(PlotLine(TITLES[run], tuple(_over_steps(found, mode, found.courses[run]))) for run in POLICY_RUNS),
        )
        for mode in VoteMode
    ]  # fmt: skip
    words = FigureText(
        8,
        "Elo over the steps of training",
        "SL-CAI, where RL-CAI starts, is more helpful and more harmless than the pretrained model, where RLHF starts. "
        "Late in training both RLHF models become less harmless: the helpful one helps with more, the HH one evades "
        "more. RL-CAI becomes more harmless.",
        "The same votes as in figure 2, by snapshot; 'late' is from the middle snapshot to the last.",
    )
    return paper_figure(words, _checks(found, compared), plots)


def middle_and_last(course: Sequence[tuple[int, str]]) -> tuple[tuple[int, str], tuple[int, str]]:
    """The snapshot nearest to half of a policy's steps, of equally near ones the earlier, and the last one."""
    last = course[-1]
    trained = [each for each in course if each[0] > 0] or [last]
    return min(trained, key=lambda each: abs(each[0] - last[0] / 2)), last


def _across(found: EloFindings, course: Sequence[tuple[int, str]]) -> Iterator[PlotPoint]:
    for step, model in course:
        up, across = found.rating(HARMLESS, model), found.rating(HELP, model)
        if up is not None and across is not None:
            yield PlotPoint(step, up, across, f"step {step}")


def _over_steps(found: EloFindings, mode: VoteMode, course: Sequence[tuple[int, str]]) -> Iterator[PlotPoint]:
    for step, model in course:
        if (rating := found.rating(mode, model)) is not None:
            yield PlotPoint(step, rating, label=f"step {step}")
