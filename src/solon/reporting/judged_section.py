"""What a judge says of the measured replies: who it is, how far to trust it, and win rates against the baseline.

A judge is a model, so every share that it gives is shown with its name, and no reader takes it for the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from solon.reporting.charts import bar, tone
from solon.runs.facts import read_facts
from solon.runs.measure_facts import BaselineFacts, ComparisonFigures, ReplyJudgeFacts
from solon.runs.rows import HELD_OUT_KINDS, PromptKind
from solon.stats.intervals import ONE_CASE, Mean, Share, interval, per_cent, percent, probability

ABOUT: Mapping[str, str] = {
    PromptKind.HELD_OUT_HARMFUL.value: "harmful prompts",
    PromptKind.HELD_OUT_BENIGN.value: "benign prompts",
}
COLUMNS = ("Model", "Prompts", "Wins, %", "Mean probability", "Pairs", "Ties", "Unjudged", "Orders agree, %")
"""The columns of the printed table."""


@dataclass(frozen=True, slots=True)
class ComparedLine:
    """One model against the baseline on one kind of prompts."""

    model: str
    tone: str
    about: str
    figures: ComparisonFigures

    @property
    def bar(self) -> Markup | None:
        """The win rate as a thin bar."""
        return bar(self.figures.win_rate.facts(), self.tone) if self.figures.win_rate is not None else None

    def cells(self) -> list[str]:
        """As the printed table has it, in the order of `COLUMNS`."""
        of = self.figures
        p = "-" if of.mean_p is None else f"{probability(of.mean_p.value)} [{_ends(of.mean_p)}]"
        counts = (str(count) for count in (of.n, of.ties, of.unjudged))
        return [self.model, self.about, _share(of.win_rate), p, *counts, _share(of.orders_agree)]


@dataclass(frozen=True, slots=True)
class ComparedModels:
    """The section "Compared with BASELINE"."""

    baseline: str
    judge: str
    lines: tuple[ComparedLine, ...]

    @property
    def title(self) -> str:
        """The heading."""
        return f"Compared with {self.baseline}"

    @property
    def caption(self) -> str:
        """What the figures are."""
        return (
            f"Replies that the judge {self.judge} prefers to those of {self.baseline} to the same prompt, under "
            "principles that no training used; 50 % is even, and equal replies count half. With 95 % intervals."
        )


def judge_in(figures: Mapping[str, Any]) -> ReplyJudgeFacts | None:
    """The judge of the replies in the results of a run, where there is one."""
    found = figures.get("reply_judge")
    return read_facts(ReplyJudgeFacts, found) if found else None


def judged_by(figures: Mapping[str, Any]) -> str:
    """`, by the judge NAME`, to go after a phrase about shares; empty where no judge gave them."""
    judge = judge_in(figures)
    return f", by the judge {judge.name}" if judge is not None else ""


def compared_models(figures: Mapping[str, Any]) -> ComparedModels | None:
    """The comparisons with the baseline in the results of a run, or None."""
    found, judge = figures.get("compared"), judge_in(figures)
    if not found or judge is None:
        return None
    facts = read_facts(BaselineFacts, found)
    order = list(figures["models"])
    lines = tuple(
        ComparedLine(model, tone(model, order.index(model)), ABOUT[kind.value], kinds[kind.value])
        for model, kinds in facts.models.items()
        for kind in HELD_OUT_KINDS
        if kind.value in kinds
    )
    return ComparedModels(facts.baseline, judge.name, lines) if lines else None


def reply_judge_sentences(figures: Mapping[str, Any]) -> Iterator[str]:
    """Who judged the replies, what was left unjudged, and how far a rule agrees with the judge."""
    judge = judge_in(figures)
    if judge is None:
        return
    yield (
        f"The replies are judged by the model {judge.name}, by the questions '{judge.questions}': its shares are its "
        "opinion, and no ground truth."
    )
    if stable := [
        f"{question} {percent(agree.value)} [{interval(agree.facts())}]"
        for question, agree in judge.orders_agree.items()
        if agree is not None
    ]:
        yield f"Answers that stay the same when yes and no change places: {', '.join(stable)}."
    if judge.unjudged:
        each = "; ".join(
            f"{model} {', '.join(f'{question} {count}' for question, count in counts.items())}"
            for model, counts in judge.unjudged.items()
        )
        because = ", ".join(f"{why} {count}" for why, count in judge.unjudged_because.items())
        yield f"Replies without a usable answer, left out of the shares: {each} ({because})."
    for kind, of in judge.rule_agreement.items():
        if of.agree is not None:
            kappa = f"Cohen's kappa is {probability(of.kappa)}" if of.kappa is not None else "both always say the same"
            yield (
                f"On {ABOUT[kind]}, the rule for canned refusals and the judge agree on what is evasive in "
                f"{percent(of.agree.value)} [{interval(of.agree.facts())}] of {of.agree.n} replies; {kappa}."
            )


def _ends(found: Mean) -> str:
    return f"{probability(found.low)}-{probability(found.high)}" if found.has_interval else ONE_CASE


def _share(found: Share | None) -> str:
    return "-" if found is None else f"{per_cent(found.value)} [{interval(found.facts())}]"
