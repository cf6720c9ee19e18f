"""How good the labels are, for the report: what was measured of the judge before it labelled, and of its labels after.

Everything comes from the facts of stage 06-ai-feedback and, where a rater knew the truth, of stage 09-measure.
Sentences say what a figure is to be compared with; a figure that was not taken leaves its sentence, row or picture out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from solon.reporting.charts import Figures, ReliabilityWords, reliability
from solon.reporting.sentences import is_figure, judge_check_details, judge_check_sentences, judge_details
from solon.reporting.share_figures import Dot, dots
from solon.stats.intervals import interval, percent


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
    """What was found of the judge before it labelled."""
    sentences: tuple[str, ...]
    """What its labels look like."""
    accuracy: Markup | None
    flips: Markup | None
    reliability: Markup | None
    columns: tuple[tuple[str, str], ...]
    """Name and note of the columns of shares that at least one principle has."""
    principles: tuple[PrincipleLabels, ...]


def quality_of(figures: Mapping[str, Any]) -> LabelQuality | None:
    """The section from `solon.reporting.results.results`; None when no judge was measured and nothing labelled."""
    judge: Mapping[str, Any] = figures.get("judge_check", {}).get("judge") or {}
    quality: Mapping[str, Any] = figures.get("label_quality") or {}
    if not judge and not quality:
        return None
    labels: Mapping[str, Any] = figures.get("labels") or {}
    columns, principles = _principles(judge, quality, labels)
    # What the measure stage says of both orders is said already.
    untold = {name: value for name, value in quality.items() if name != "orders_agree" or not labels.get(name)}
    return LabelQuality(
        measured=(
            *judge_check_sentences({"judge": judge}),
            *judge_check_details({"judge": judge}),
            *judge_details(judge),
        ),
        sentences=tuple(quality_sentences(untold)),
        accuracy=dots("Comparisons judged right, with 95 % intervals", _accuracy(judge), judge.get("chance")),
        flips=dots("Right answers lost to injected words, with 95 % intervals", _flips(judge)),
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
    return shown + ([("the other way round", flips["righted"], "tone-0")] if flips["righted"] else [])


def quality_sentences(quality: Mapping[str, Any]) -> Iterator[str]:
    """The labels themselves, in sentences; what needs no truth."""
    if same := quality.get("orders_agree"):
        yield f"Both orders of a pair prefer the same reply in {_share(same)} of {same['n']} pairs."
    if (gap := quality.get("length_gap")) and (longer := quality.get("longer_preferred")):
        words = "words longer" if gap["value"] >= 0 else "words shorter"
        yield (
            f"The preferred reply is on average {abs(gap['value']):.1f} {words} than the other "
            f"[{_signed(gap['low'])} to {_signed(gap['high'])}], and the longer one in {_share(longer)} of "
            f"{longer['n']} pairs of unequal length."
        )
    if wins := quality.get("a_wins"):
        yield f"Reply A is preferred in {_share(wins)} of {wins['n']} decided pairs."
    if refusals := quality.get("refusals"):
        yield f"The judge declined to judge in {_share(refusals)} of {refusals['n']} reasonings."
    if "attempts" in quality:
        kinds = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in quality["attempts"].items())
        yield (
            f"Words that look meant for the judge stand in the replies of some pairs: {kinds}."
            if kinds
            else ("No reply holds words that look meant for the judge.")
        )
    if taken := quality.get("attempts_preferred"):
        yield f"Where one of two replies held such words, it was preferred in {_share(taken)} of {taken['n']} pairs."


_COLUMNS = (
    ("Orders agree", "same reply preferred"),
    ("No label", "of its pairs"),
    ("A wins", "of decided pairs"),
    ("Known answers", "judged right before"),
    ("Rater", "agrees with the truth"),
)


def _principles(
    judge: Mapping[str, Any], quality: Mapping[str, Any], labels: Mapping[str, Any]
) -> tuple[tuple[tuple[str, str], ...], tuple[PrincipleLabels, ...]]:
    drawn: Mapping[str, Any] = quality.get("by_principle") or {}
    known: Mapping[str, Any] = judge.get("by_principle") or {}
    rated: Mapping[str, Any] = labels.get("by_principle") or {}
    every = {
        name: (*(drawn.get(name, {}).get(key) for key in ("orders_agree", "undecided", "a_wins")),
               known.get(name), rated.get(name))
        for name in dict.fromkeys((*drawn, *known))
    }  # fmt: skip
    kept = [place for place in range(len(_COLUMNS)) if any(shares[place] for shares in every.values())]
    lines = tuple(
        PrincipleLabels(
            name,
            drawn.get(name, {}).get("pairs", 0),
            tuple(shares[place] for place in kept),
            _signed(gap["value"]) if (gap := drawn.get(name, {}).get("length_gap")) else "",
        )
        for name, shares in every.items()
    )
    return tuple(_COLUMNS[place] for place in kept), lines


def _share(figure: Figures) -> str:
    return f"{percent(figure['value'])} [{interval(figure)}]"


def _signed(value: float) -> str:
    return f"{value:+.1f}"
