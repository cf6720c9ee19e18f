"""The report's section on label quality: measures of the judge before it labels, and of its labels.

The figures come from the facts of stage 06-ai-feedback and, if a grader knows the truth, of stage 09-measure. Each
sentence names the value to compare with. A figure that was not measured has no sentence, row or plot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from solon.reporting.charts import Figures, ReliabilityWords, reliability
from solon.reporting.sentences import is_figure, judge_check_details, judge_check_sentences, judge_details
from solon.reporting.share_figures import Dot, dots
from solon.runs.facts import LabelFigures, LabelQualityFacts, read_facts
from solon.stats.intervals import ONE_CASE, Share, interval, percent


@dataclass(frozen=True, slots=True)
class PrincipleLabels:
    """One preference principle: its pairs, and its figures in the order of the table's columns."""

    id: str
    pairs: int
    shares: tuple[Figures | None, ...]
    length_gap: str


@dataclass(frozen=True, slots=True)
class LabelQuality:
    """The section of the report."""

    measured: tuple[str, ...]
    """Measures of the judge before it labels, in sentences."""
    sentences: tuple[str, ...]
    """Measures of its labels, in sentences."""
    accuracy: Markup | None
    flips: Markup | None
    reliability: Markup | None
    columns: tuple[tuple[str, str], ...]
    """Name and note of each column with a share for at least one principle."""
    principles: tuple[PrincipleLabels, ...]


def label_quality_in(figures: Mapping[str, Any]) -> LabelQualityFacts | None:
    """The figures of the labels themselves, from a run's results; None when nothing was labelled."""
    found: Mapping[str, Any] = figures.get("label_quality") or {}
    return read_facts(LabelQualityFacts, found) if found else None


def quality_of(figures: Mapping[str, Any]) -> LabelQuality | None:
    """The section from `solon.reporting.results.results`; None when no judge was measured and there are no labels."""
    judge: Mapping[str, Any] = figures.get("judge_check", {}).get("judge") or {}
    quality = label_quality_in(figures)
    if not judge and quality is None:
        return None
    labels: Mapping[str, Any] = figures.get("labels") or {}
    columns, principles = _principles(judge, quality, labels)
    return LabelQuality(
        measured=(
            *judge_check_sentences({"judge": judge}),
            *judge_check_details({"judge": judge}),
            *judge_details(judge),
        ),
        # The measure stage has its own sentence on both orders.
        sentences=tuple(quality_sentences(quality, orders=not labels.get("orders_agree"))) if quality else (),
        accuracy=dots(_accuracy(judge), judge.get("chance")),
        flips=dots(_flips(judge)),
        reliability=reliability(judge.get("calibration") or [], _KNOWN),
        columns=columns,
        principles=principles,
    )


_KNOWN = ReliabilityWords(
    title="Calibration on comparisons with a known answer, with 95 % intervals", cases="comparisons"
)


def _accuracy(judge: Mapping[str, Any]) -> list[Dot]:
    if not is_figure(judge):
        return []
    shown: list[Dot] = [("all", judge, "tone-3")]
    shown += [(name, share, "tone-2") for name, share in (judge.get("by_kind") or {}).items()]
    return shown + [(name, share, "tone-0") for name, share in (judge.get("by_principle") or {}).items()]


def _flips(judge: Mapping[str, Any]) -> list[Dot]:
    flips = judge.get("injections") or {}
    if not is_figure(flips):
        return []
    shown: list[Dot] = [("all", flips, "label-harmful")]
    shown += [(name.replace("_", " "), share, "tone-1") for name, share in flips["by_kind"].items()]
    return shown + ([("wrong to right", flips["righted"], "tone-0")] if flips["righted"] else [])


def quality_sentences(quality: LabelQualityFacts, *, orders: bool = True) -> Iterator[str]:
    """Measures of the labels that need no known answer; `orders` includes the agreement of both orders."""
    if orders and (same := quality.orders_agree):
        yield f"Both orders of a pair prefer the same reply in {_share(same)} of {same.n} pairs."
    if (gap := quality.length_gap) and (longer := quality.longer_preferred):
        words = "words longer" if gap.value >= 0 else "words shorter"
        ends = f"{_signed(gap.low)} to {_signed(gap.high)}" if gap.has_interval else ONE_CASE
        yield (
            f"The preferred reply is on average {abs(gap.value):.1f} {words} than the other "
            f"[{ends}], and the longer one in {_share(longer)} of {longer.n} pairs of unequal length."
        )
    if wins := quality.a_wins:
        yield f"Reply A is preferred in {_share(wins)} of {wins.n} decided pairs."
    if refusals := quality.refusals:
        yield f"The judge declined to judge in {_share(refusals)} of {refusals.n} reasonings."
    kinds = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in quality.attempts.items())
    yield (
        f"The replies of some pairs contain words that try to influence the judge: {kinds}."
        if kinds
        else "No reply contains words that try to influence the judge."
    )
    if taken := quality.attempts_preferred:
        yield f"If one of the two replies contained such words, it was preferred in {_share(taken)} of {taken.n} pairs."


_COLUMNS = (
    ("Orders agree", "same reply preferred"),
    ("No label", "of its pairs"),
    ("A wins", "of decided pairs"),
    ("Known answers", "judged right before"),
    ("Grader", "label agrees with the truth"),
)


def _principles(
    judge: Mapping[str, Any], quality: LabelQualityFacts | None, labels: Mapping[str, Any]
) -> tuple[tuple[tuple[str, str], ...], tuple[PrincipleLabels, ...]]:
    labelled: Mapping[str, LabelFigures] = quality.by_principle if quality else {}
    known: Mapping[str, Any] = judge.get("by_principle") or {}
    rated: Mapping[str, Any] = labels.get("by_principle") or {}
    every = {
        name: (*_shares(labelled.get(name)), known.get(name), rated.get(name))
        for name in dict.fromkeys((*labelled, *known))
    }
    kept = [place for place in range(len(_COLUMNS)) if any(shares[place] for shares in every.values())]
    lines = tuple(
        PrincipleLabels(
            name,
            labelled[name].pairs if name in labelled else 0,
            tuple(shares[place] for place in kept),
            _signed(gap.value) if name in labelled and (gap := labelled[name].length_gap) else "",
        )
        for name, shares in every.items()
    )
    return tuple(_COLUMNS[place] for place in kept), lines


def _shares(figures: LabelFigures | None) -> tuple[Figures | None, ...]:
    """The shares of one principle's labels, in the order of the columns."""
    known = (figures.orders_agree, figures.undecided, figures.a_wins) if figures else (None, None, None)
    return tuple(share.facts() if share else None for share in known)


def _share(figure: Share) -> str:
    return f"{percent(figure.value)} [{interval(figure.facts())}]"


def _signed(value: float) -> str:
    return f"{value:+.1f}"
