"""The page of a folder of labels from `solon label`: the label section of a run's report, on its own page.

A pure function of the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from solon.reporting import charts
from solon.reporting.label_section import LabelQuality, quality_of
from solon.reporting.page import fill, write_page
from solon.runs import Artefact
from solon.runs.facts import FeedbackFacts, facts_record, read_facts
from solon.runs.rows import LabelRow

PAGE = "labels.html"


@dataclass(frozen=True, slots=True)
class LabelPage:
    """The content of the page, with the names of the run report's section."""

    judge: tuple[str, ...]
    """How many pairs have labels, in sentences."""
    histogram: Markup | None
    quality: LabelQuality | None
    reliability: Markup | None = None
    preference: tuple[tuple[str, str, str], ...] = ()


def write(labels: Artefact, note: str | None = None) -> Path:
    """Write the page to the folder of the labels, with the caller's sentence `note`; returns the page's path."""
    page = fill(
        "labels-page.html",
        page=content_of(labels, note),
        judge=read_facts(FeedbackFacts, labels.facts, str(labels.path)).judge,
    )
    return write_page(labels.path / PAGE, page)


def content_of(labels: Artefact, note: str | None = None) -> LabelPage:
    """Read the labels of stage ai-feedback."""
    facts = read_facts(FeedbackFacts, labels.facts, str(labels.path))
    figures = {"judge_check": facts.judge_check or {}, "label_quality": facts_record(facts.quality)}
    return LabelPage(
        judge=(*_counts(facts), *([note] if note else [])),
        histogram=charts.histogram([row.p_a for row in labels.rows(LabelRow) if row.p_a is not None]),
        quality=quality_of(figures),
    )


def _counts(facts: FeedbackFacts) -> Iterator[str]:
    because = facts.undecided_because
    whys = ", ".join(f"{count}: {why}" for why, count in because.items())
    yield f"Of {facts.pairs} pairs, {sum(because.values())} have no label{f' ({whys})' if whys else ''}."
