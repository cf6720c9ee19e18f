"""Plots of shares with their 95 % intervals: `dots` has one share in each row, `by_group` one for each model.

`by_group` shows what a constitution covers: in a group of harmful prompts without a principle, the trained models stay
near the assistant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from solon.reporting.charts import Figures, tone
from solon.reporting.dot_rows import DotGroup, DotRow, dot_rows

Dot = tuple[str, Figures, str]
"""A name, a share, and the class of its colour."""


def by_group(groups: Mapping[str, Mapping[str, Figures]]) -> Markup | None:
    """Share of harmful replies by group and model, with 95 % intervals; None with fewer than two groups."""
    names = list(dict.fromkeys(name for shares in groups.values() for name in shares))
    if len(names) < 2:
        return None
    order = list(groups)
    return dot_rows(
        [
            DotGroup(
                name,
                tuple(
                    DotRow(model, groups[model][name], tone(model, order.index(model)))
                    for model in order
                    if name in groups[model]
                ),
            )
            for name in names
        ]
    )


def dots(shares: Sequence[Dot], chance: float | None = None) -> Markup | None:
    """One row for each share; None without any. `chance` is marked in all rows."""
    return dot_rows([DotGroup("", tuple(DotRow(*each) for each in shares))], chance)
