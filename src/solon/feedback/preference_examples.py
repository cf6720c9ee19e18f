"""What a preference model learns from: AI labels and human comparisons, as pairs of token sequences.

A label near one half is not the same as no label. The loss (`solon.training.losses.preference_loss`) has the derivative
sigmoid(d) - 1/2 there, which draws the scores of the two replies together wherever other pairs have moved them apart.
That is right where the replies are equally good, and wrong where the drawn principle merely says nothing about them:
if two in five principles do not name the harm of a pair, even a perfect judge's labels teach that the harmful reply is
nearly as good. `preference.least_margin` leaves such labels out, and only labels with a preference are learned from.
With a constitution that is silent on purpose, as `testbed-without-privacy` is on privacy, they keep the silence.

Where a recipe trains a second preference model to watch the first one, each prompt belongs to one of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from solon.config.recipe import LabelsUsed
from solon.conversation import Conversation
from solon.digest import uniform_for
from solon.runs.rows import LabelRow, comparable
from solon.runs.training_rows import PreferenceExampleRow
from solon.sources.comparison_files import Comparison
from solon.training.batches import PairExample
from solon.training.encoding import Encoding
from solon.training.loop import is_held_out

AI, HUMAN, HUMAN_HARMLESSNESS = "ai", "human", "human-harmlessness"
"""Who compared: the feedback model, and people who compared helpfulness or harmlessness."""


class Side(StrEnum):
    """Which of two preference models with no prompt in common."""

    RUN = "run"
    """The one that the policy learns from."""
    HELD_OUT = "held-out"
    """The one that only watches (Bai et al. 2022a, section 4.2)."""


@dataclass(frozen=True, slots=True)
class PromptPart:
    """The part of the labelled pairs that one of two models learns: `share` of the prompts are the held-out one's."""

    side: Side
    share: float

    def holds(self, row_id: str, seed: int) -> bool:
        """Whether the pairs of a prompt belong to this side: a draw by the run's seed and the prompt's content."""
        held_out = uniform_for(seed, "held-out preference model", row_id) < self.share
        return held_out is (self.side is Side.HELD_OUT)


@dataclass(frozen=True, slots=True)
class Labelled:
    """Two replies to one prompt of which one is preferred, who said so, and where it stands."""

    source: str
    row_id: str
    prompt: Conversation
    chosen: str
    rejected: str
    p_chosen: float
    """P(chosen is better)."""
    label: LabelRow | None = None
    """The AI label that it is made of."""
    line: int | None = None
    """The line of a human comparison in its file."""


@dataclass(frozen=True, slots=True)
class PreferenceExample:
    """A labelled pair with its tokens, and whether it is held out."""

    of: Labelled
    tokens: PairExample
    held_out: bool

    def row(self) -> PreferenceExampleRow:
        """The example as its table holds it."""
        label = self.of.label
        return PreferenceExampleRow(
            row_id=self.of.row_id,
            source=self.of.source,
            pair=label.pair if label else None,
            line=self.of.line,
            principle_id=label.principle_id or None if label else None,
            prompt=self.of.prompt,
            chosen=self.of.chosen,
            rejected=self.of.rejected,
            p_chosen=self.of.p_chosen,
            weight=self.tokens.weight,
            held_out=self.held_out,
            tokens=len(self.tokens.chosen) + len(self.tokens.rejected),
        )


def ai_labels(
    rows: Sequence[LabelRow], used: LabelsUsed = LabelsUsed.SOFT, least_margin: float = 0.0
) -> list[Labelled]:
    """The labelled pairs that can be learned from, with the probability that is trained on.

    Labels nearer to one half than `least_margin` are left out.
    """
    return [
        Labelled(AI, row.row_id, row.prompt, row.chosen, row.rejected, label_used(row.p_chosen, used), label=row)
        for row in comparable(rows)
        if row.chosen is not None
        and row.rejected is not None
        and row.p_chosen is not None
        and abs(row.p_chosen - 0.5) >= least_margin
    ]


def label_used(p_chosen: float, used: LabelsUsed) -> float:
    """The probability that is trained on: the label itself, or a certain one where it prefers either reply."""
    if used is LabelsUsed.SOFT or p_chosen == 0.5:
        return p_chosen
    return 1.0 if p_chosen > 0.5 else 0.0


def drawn_human(
    comparisons: Sequence[Comparison], limit: int | None, seed: int, source: str = HUMAN, certainty: float = 1.0
) -> list[Labelled]:
    """All comparisons, or `limit` of them drawn by their content; in the file's order, each with P = `certainty`."""
    rows = [(each.prompt.row_id, each) for each in comparisons]
    if limit is not None and limit < len(rows):
        drawn = sorted(rows, key=lambda row: uniform_for(seed, "human", row[0], row[1].chosen, row[1].rejected))
        rows = sorted(drawn[:limit], key=lambda row: row[1].line)
    return [
        Labelled(source, row_id, each.prompt, each.chosen, each.rejected, certainty, line=each.line)
        for row_id, each in rows
    ]


def pair_examples(
    labelled: Sequence[Labelled], encoding: Encoding, human_weight: float, share: float, seed: int
) -> list[PreferenceExample]:
    """The pairs that fit the window, as tokens."""
    better = encoding.examples([(each.row_id, each.prompt, each.chosen) for each in labelled])
    worse = encoding.examples([(each.row_id, each.prompt, each.rejected) for each in labelled])
    made = [
        PairExample(
            row_id=each.row_id,
            chosen=chosen.token_ids,
            rejected=rejected.token_ids,
            p_chosen=each.p_chosen,
            weight=1.0 if each.source == AI else human_weight,
            source=each.source,
        )
        for each, chosen, rejected in zip(labelled, better, worse, strict=True)
    ]
    return [
        PreferenceExample(each, tokens, is_held_out(each.row_id, share, seed))
        for each, tokens in zip(labelled, made, strict=True)
        if _fits(tokens, encoding)
    ]


def _fits(pair: PairExample, encoding: Encoding) -> bool:
    return encoding.fits(pair.chosen) and encoding.fits(pair.rejected)
