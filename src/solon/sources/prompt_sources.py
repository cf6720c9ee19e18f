"""Where the prompts of each kind come from: names in a recipe, several joined by ` + `, or a split of another source.

`split` or `split:SHARE` as a held-out source takes that share (a tenth when not said) of the training prompts of the
same sort, by the hash of each prompt's content: all who share a file share the split, whatever the seed, and adding
prompts moves none from one side to the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from solon.config.recipe import MeasureSettings, PromptSettings
from solon.digest import uniform_for
from solon.errors import RecipeError
from solon.runs.rows import PromptKind

SPLIT = "split"
SHARE = 0.1
"""What `split` alone holds out."""
_JOINED = " + "
_SPLIT = re.compile(rf"{SPLIT}(?::(?P<share>.*))?")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the prompts of one kind come from."""

    kind: PromptKind
    names: tuple[str, ...]
    limit: int | None
    setting: str
    """The recipe's key for it, for messages."""
    part: tuple[float, float] = (0.0, 1.0)
    """The part of a split that it takes, as an interval of the prompts' hashes."""

    @property
    def name(self) -> str:
        """All names as the recipe writes them."""
        return _JOINED.join(self.names)

    def holds(self, row_id: str) -> bool:
        """Whether a prompt lies in this source's part of a split."""
        low, high = self.part
        return (low, high) == (0.0, 1.0) or low <= uniform_for("held-out", row_id) < high


def sources(settings: PromptSettings, held_out: MeasureSettings) -> tuple[Source, ...]:
    """The four sources, in the order in which they lay claim to a prompt.

    Raises RecipeError when a split's share is no number between 0 and 1.
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


def names_in(written: str) -> tuple[str, ...]:
    """The names that a recipe joins by ` + `, in order."""
    return tuple(name.strip() for name in written.split(_JOINED))


def _share(written: str, setting: str) -> float | None:
    """The share that a held-out source splits off, or None when it is a source of its own."""
    match = _SPLIT.fullmatch(written)
    if not match:
        return None
    try:
        share = float(match["share"]) if match["share"] is not None else SHARE
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise RecipeError(
            f"'{setting}' holds out no share between 0 and 1",
            place=written,
            remedy=f"Write --set {setting}={SPLIT}:{SHARE}",
        )
    return share
