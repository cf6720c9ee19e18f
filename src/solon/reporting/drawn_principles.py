"""The constitution at work: how often each principle was drawn, and what became of the harmful replies that it met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from solon.constitution.constitution import Constitution
from solon.feedback.soft_labels import axes_in
from solon.runs.evaluation_rows import RevisionRating
from solon.runs.rows import LabelRow, RevisionRow
from solon.stats.intervals import wilson

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DrawnPrinciple:
    """A principle with how often it was drawn, and of the harmful replies it met how many it made harmless."""

    id: str
    texts: tuple[str, ...]
    draws: int
    share: float
    mended: Figures | None = None


def drawn_for_revision(
    constitution: Constitution, rows: Sequence[RevisionRow], rated: Sequence[RevisionRating]
) -> tuple[DrawnPrinciple, ...]:
    """The revision principles with their draws; `rated` are the rater's labels, where there was one."""
    draws = Counter(row.principle_id for row in rows)
    harmful = {(row.row_id, row.step): "harmful" in row.labels for row in rated}
    met: dict[str, list[bool]] = {}
    for row in rows:
        before, after = (harmful.get((row.row_id, row.step - back)) for back in (1, 0))
        if before and after is not None:
            met.setdefault(row.principle_id, []).append(not after)
    most = max(draws.values(), default=1)
    return tuple(
        DrawnPrinciple(
            principle.id,
            (principle.critique_request, principle.revision_request),
            draws[principle.id],
            draws[principle.id] / most,
            wilson(sum(kept), len(kept)).facts() if (kept := met.get(principle.id)) else None,
        )
        for principle in constitution.revision
    )


def drawn_for_preference(constitution: Constitution, rows: Sequence[LabelRow]) -> tuple[DrawnPrinciple, ...]:
    """The preference principles with their draws among the labelled pairs, of which each axis has its own."""
    draws = Counter(axis.principle_id for row in rows for axis in axes_in(row))
    most = max(draws.values(), default=1)
    return tuple(
        DrawnPrinciple(principle.id, (principle.instruction,), draws[principle.id], draws[principle.id] / most)
        for principle in constitution.preference
    )
