"""The page of a folder of labels that `solon label` made: the section of a run's report that is about labels, alone.

A pure function of the folder, laid out like the run's report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from solon.reporting import charts
from solon.reporting.label_section import LabelQuality, quality_of
from solon.reporting.page import fill, write_page
from solon.runs import Artefact

PAGE = "labels.html"


@dataclass(frozen=True, slots=True)
class LabelPage:
    """What the page holds, under the names of the run report's section."""

    judge: tuple[str, ...]
    """What became of the pairs, in sentences."""
    histogram: Markup | None
    quality: LabelQuality | None
    reliability: Markup | None = None
    preference: tuple[tuple[str, str, str], ...] = ()


def write(labels: Artefact, told: str | None = None) -> Path:
    """Write the page into the folder of the labels; `told` is a sentence of the caller's. Returns the page's path."""
    page = fill("labels-page.html", page=content_of(labels, told), judge=labels.facts["judge"])
    return write_page(labels.path / PAGE, page)


def content_of(labels: Artefact, told: str | None = None) -> LabelPage:
    """Read the labels of stage ai-feedback."""
    facts = labels.facts
    figures = {"judge_check": facts.get("judge_check") or {}, "label_quality": facts["quality"]}
    return LabelPage(
        judge=(*_counts(facts), *([told] if told else [])),
        histogram=charts.histogram([row["p_a"] for row in labels.rows() if row["p_a"] is not None]),
        quality=quality_of(figures),
    )


def _counts(facts: Mapping[str, Any]) -> Iterator[str]:
    because = facts["undecided_because"]
    whys = ", ".join(f"{count}: {why}" for why, count in because.items())
    yield f"Of {facts['pairs']} pairs, {sum(because.values())} have no label{f' ({whys})' if whys else ''}."
