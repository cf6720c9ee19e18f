"""The objectives of finetuning, of the preference model, and of a model that predicts ratings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from solon.training.batches import PAD_ID, CompletionExample, PairExample, RatedExample, pad_right, span_mask, to_device
from solon.training.forward import ScalarModel, TokenModel
from solon.training.learner import Counts
from solon.training.losses import ordered_as_labelled, preference_loss, rating_loss
from solon.training.shared_prefix import as_one_row, pair_scores


@dataclass(frozen=True, slots=True)
class CompletionObjective:
    """Negative log-likelihood of completions, end token included; prompts have no loss (paper, section 3.1)."""

    model: TokenModel
    width: int = 1

    @property
    def pass_cost(self) -> int:
        """The model's."""
        return self.model.pass_cost

    def size(self, rows: Sequence[CompletionExample]) -> float:
        """Tokens with loss."""
        return float(sum(row.length - row.start for row in rows))

    def loss(self, rows: Sequence[CompletionExample]) -> tuple[Tensor, Counts]:
        """The summed loss, and the number of tokens with loss."""
        ids_BT = pad_right([row.token_ids for row in rows], PAD_ID, self.model.device)
        mask_BT = span_mask([row.start for row in rows], [row.length for row in rows], ids_BT.shape[1])
        return self.model.completion_loss(ids_BT, mask_BT), {"tokens": int(mask_BT.sum())}


@dataclass(frozen=True, slots=True)
class PreferenceObjective:
    """Cross-entropy to soft labels, each pair by its weight; both replies in one forward pass (paper, section 4.1)."""

    model: ScalarModel
    width: int = 2

    @property
    def pass_cost(self) -> int:
        """The model's."""
        return self.model.pass_cost

    def size(self, rows: Sequence[PairExample]) -> float:
        """The rows' weights."""
        return sum(row.weight for row in rows)

    def loss(self, rows: Sequence[PairExample]) -> tuple[Tensor, Counts]:
        """The summed weighted loss, and how many of the pairs with a preferred reply are ordered as labelled."""
        chosen_B, rejected_B = self.scores(rows)
        labels_B = to_device(torch.tensor([row.p_chosen for row in rows]), chosen_B.device)
        weights_B = to_device(torch.tensor([row.weight for row in rows]), chosen_B.device)
        loss = (weights_B * preference_loss(chosen_B, rejected_B, labels_B)).sum()
        decided_B = labels_B != 0.5
        right_B = ordered_as_labelled(chosen_B, rejected_B, labels_B)
        tokens = sum(len(row.chosen) + len(row.rejected) for row in rows)
        return loss, {"tokens": tokens, "decided": decided_B.sum(), "ordered": right_B.sum()}

    def scores(self, rows: Sequence[PairExample]) -> tuple[Tensor, Tensor]:
        """The scores of the chosen and of the rejected replies, each of shape (B)."""
        sequences = [row.chosen for row in rows] + [row.rejected for row in rows]
        ids_BT = pad_right(sequences, PAD_ID, self.model.device)
        lengths_B = to_device(torch.tensor([len(sequence) for sequence in sequences]), ids_BT.device)
        chosen_B, rejected_B = self.model.scores(ids_BT, lengths_B).chunk(2)
        return chosen_B, rejected_B


@dataclass(frozen=True, slots=True)
class SharedPrefixObjective(PreferenceObjective):
    """The same loss of pairs that are one row each: the prompt is read once."""

    width: int = 1

    def scores(self, rows: Sequence[PairExample]) -> tuple[Tensor, Tensor]:
        """See `PreferenceObjective`."""
        return pair_scores(self.model, [as_one_row(row) for row in rows])


@dataclass(frozen=True, slots=True)
class RatingObjective:
    """Squared distance of each conversation's score from its target (paper, section 5: the L2 loss)."""

    model: ScalarModel
    width: int = 1

    @property
    def pass_cost(self) -> int:
        """The model's."""
        return self.model.pass_cost

    def size(self, rows: Sequence[RatedExample]) -> float:
        """The number of rows."""
        return float(len(rows))

    def loss(self, rows: Sequence[RatedExample]) -> tuple[Tensor, Counts]:
        """The summed loss, and the number of tokens."""
        ids_BT = pad_right([row.token_ids for row in rows], PAD_ID, self.model.device)
        lengths_B = to_device(torch.tensor([row.length for row in rows]), ids_BT.device)
        targets_B = to_device(torch.tensor([row.target for row in rows]), ids_BT.device)
        loss = rating_loss(self.model.scores(ids_BT, lengths_B), targets_B).sum()
        return loss, {"tokens": sum(row.length for row in rows)}
