"""The sources of the prompts of each kind: names in a recipe, several joined by ` + `, or a split of another source.

`split` or `split:SHARE` as a held-out source takes that share (default: a tenth) of the training prompts of the same
sort, by the hash of each prompt's content. So everybody with the same file has the same split, whatever the seed, and
adding prompts moves none from one side to the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from solon.config.recipe import MeasureSettings, OnlineSettings, PromptSettings
from solon.digest import uniform_for
from solon.errors import RecipeError
from solon.runs.rows import PromptKind

SPLIT = "split"
SHARE = 0.1
"""The share that `split` without a share holds out."""
_JOINED = " + "
_SPLIT = re.compile(rf"{SPLIT}(?::(?P<share>.*))?")


@dataclass(frozen=True, slots=True)
class Source:
    """The source of the prompts of one kind."""

    kind: PromptKind
    names: tuple[str, ...]
    limit: int | None
    setting: str
    """Its key in the recipe, for messages."""
    part: tuple[float, float] = (0.0, 1.0)
    """Its part of a split, as an interval of the prompts' hashes."""

    @property
    def name(self) -> str:
        """All names as the recipe writes them."""
        return _JOINED.join(self.names)

    def holds(self, row_id: str) -> bool:
        """Whether a prompt is in this source's part of a split."""
        low, high = self.part
        return (low, high) == (0.0, 1.0) or low <= uniform_for("held-out", row_id) < high


def sources(settings: PromptSettings, held_out: MeasureSettings) -> tuple[Source, ...]:
    """The four sources; a prompt that is in several belongs to the first.

    Raises RecipeError when the share of a split is not a number between 0 and 1.
    """
    harmful, benign = _share(held_out.harmful, "measure.harmful"), _share(held_out.benign, "measure.benign")
    red_team, helpful = names_in(settings.red_team), names_in(settings.helpful)
    return (
        Source(
            PromptKind.HELD_OUT_HARMFUL,
            names_in(held_out.harmful) if harmful is None else red_team,
            held_out.limit,
            "measure.harmful",
            (0.0, harmful or 1.0),
        ),
        Source(
            PromptKind.HELD_OUT_BENIGN,
            names_in(held_out.benign) if benign is None else helpful,
            held_out.limit,
            "measure.benign",
            (0.0, benign or 1.0),
        ),
        Source(PromptKind.RED_TEAM, red_team, settings.limit_red_team, "prompts.red_team", (harmful or 0.0, 1.0)),
        Source(PromptKind.HELPFUL, helpful, settings.limit_helpful, "prompts.helpful", (benign or 0.0, 1.0)),
    )


def online_sources(settings: OnlineSettings) -> tuple[Source, ...]:
    """The source of prompts that join from the second round on, if there is one."""
    if settings.red_team is None:
        return ()
    return (Source(PromptKind.RED_TEAM, names_in(settings.red_team), None, "online.red_team"),)


def names_in(written: str) -> tuple[str, ...]:
    """The names that a recipe joins by ` + `, in order."""
    return tuple(name.strip() for name in written.split(_JOINED))


def _share(written: str, setting: str) -> float | None:
    """The share of a split; None when the source is not a split."""
    match = _SPLIT.fullmatch(written)
    if not match:
        return None
    try:
        share = float(match["share"]) if match["share"] is not None else SHARE
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise RecipeError(
            f"the share of '{setting}' is not between 0 and 1",
            place=written,
            remedy=f"Write --set {setting}={SPLIT}:{SHARE}",
        )
    return share
