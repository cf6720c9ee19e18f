"""How often each principle was drawn, and how many harmful replies its revisions made harmless."""

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
    """A principle, how often it was drawn, and the share of harmful replies that its revisions made harmless."""

    id: str
    texts: tuple[str, ...]
    draws: int
    share: float
    mended: Figures | None = None


def drawn_for_revision(
    constitution: Constitution, rows: Sequence[RevisionRow], rated: Sequence[RevisionRating]
) -> tuple[DrawnPrinciple, ...]:
    """The revision principles with their draws; `rated` are the grader's labels, empty without a grader."""
    draws = Counter(row.principle_id for row in rows)
    harmful = {(row.row_id, row.step): "harmful" in row.labels for row in rated}
    outcomes: dict[str, list[bool]] = {}
    for row in rows:
        before, after = (harmful.get((row.row_id, row.step - back)) for back in (1, 0))
        if before and after is not None:
            outcomes.setdefault(row.principle_id, []).append(not after)
    most = max(draws.values(), default=1)
    return tuple(
        DrawnPrinciple(
            principle.id,
            (principle.critique_request, principle.revision_request),
            draws[principle.id],
            draws[principle.id] / most,
            wilson(sum(kept), len(kept)).facts() if (kept := outcomes.get(principle.id)) else None,
        )
        for principle in constitution.revision
    )


def drawn_for_preference(constitution: Constitution, rows: Sequence[LabelRow]) -> tuple[DrawnPrinciple, ...]:
    """The preference principles with their draws among the labelled pairs; each axis of a pair draws its own."""
    draws = Counter(axis.principle_id for row in rows for axis in axes_in(row))
    most = max(draws.values(), default=1)
    return tuple(
        DrawnPrinciple(principle.id, (principle.instruction,), draws[principle.id], draws[principle.id] / most)
        for principle in constitution.preference
    )
