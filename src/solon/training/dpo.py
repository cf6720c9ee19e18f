"""Direct preference optimisation with soft labels: the policy is its own preference model (Rafailov et al. 2023).

The reward that a policy implies is beta times its log-ratio to the reference, and the loss is the preference model's on
that reward, so a label of 0.5 pulls the two replies together instead of preferring one. The reference is the
initial policy: its log-probabilities are computed once, before training, and need no second model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from solon.runs.processes import SINGLE_PROCESS, Processes
from solon.training.batches import (
    PAD_ID,
    CompletionExample,
    gather_masked,
    micro_batches,
    pad_right,
    span_mask,
    to_device,
)
from solon.training.distributed.sharded import pad_passes
from solon.training.forward import TokenModel
from solon.training.learner import Counts
from solon.training.losses import direct_preference_loss, ordered_as_labelled, token_logprobs


@dataclass(frozen=True, slots=True)
class DirectPair:
    """Two replies to one prompt with a soft label, and their log-probabilities under the reference."""

    row_id: str
    chosen: CompletionExample
    rejected: CompletionExample
    p_chosen: float
    weight: float = 1.0
    reference_chosen: float = 0.0
    reference_rejected: float = 0.0

    @property
    def length(self) -> int:
        """Tokens of the longer side, prompt included."""
        return max(self.chosen.length, self.rejected.length)

    @property
    def tokens(self) -> int:
        """Tokens of both sides."""
        return self.chosen.length + self.rejected.length


def reply_logprobs(model: TokenModel, rows: Sequence[CompletionExample]) -> Tensor:
    """The log-probability of each row's reply, summed over its tokens and the end token, shape (B)."""
    ids_BT = pad_right([row.token_ids for row in rows], PAD_ID, model.device)
    mask_BT = span_mask([row.start for row in rows], [row.length for row in rows], ids_BT.shape[1])
    logprob_N = token_logprobs(model.logits(ids_BT, mask_BT), gather_masked(ids_BT, mask_BT))
    places_N = to_device(mask_BT.flatten().nonzero().squeeze(1), logprob_N.device)
    laid = torch.zeros(mask_BT.numel(), device=logprob_N.device).index_copy(0, places_N, logprob_N)
    return laid.view(mask_BT.shape).sum(1)


def with_reference(
    model: TokenModel, pairs: Sequence[DirectPair], micro_tokens: int, processes: Processes = SINGLE_PROCESS
) -> list[DirectPair]:
    """The pairs with log-probabilities under `model` as it is now; processes share the work."""
    rows = [row for pair in pairs for row in (pair.chosen, pair.rejected)]
    logprob_B = torch.zeros(len(rows))
    with torch.no_grad():
        mine = processes.share(range(len(rows)))
        parts = list(micro_batches(mine, lambda index: rows[index].length, micro_tokens, cost=model.pass_cost))
        measured = [
            (part, reply_logprobs(model, [rows[index] for index in part]), counted)
            for part, counted in pad_passes(processes, parts, [0])
        ]
        for part, part_B, counted in measured:  # after all passes, since reading waits for a GPU
            if counted:
                logprob_B[part] = part_B.cpu()
    processes.add([logprob_B])  # zero for rows of other processes
    sides = logprob_B.reshape(-1, 2).tolist()
    return [
        replace(pair, reference_chosen=chosen, reference_rejected=rejected)
        for pair, (chosen, rejected) in zip(pairs, sides, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class DirectObjective:
    """The soft-label loss of pairs, each by its weight; both replies in one forward pass."""

    model: TokenModel
    beta: float
    width: int = 2

    @property
    def pass_cost(self) -> int:
        """The model's."""
        return self.model.pass_cost

    def size(self, rows: Sequence[DirectPair]) -> float:
        """The rows' weights."""
        return sum(row.weight for row in rows)

    def loss(self, rows: Sequence[DirectPair]) -> tuple[Tensor, Counts]:
        """The summed loss, and counts: pairs with a preferred reply, those ordered as labelled, and margins."""
        examples = [row.chosen for row in rows] + [row.rejected for row in rows]
        chosen_B, rejected_B = reply_logprobs(self.model, examples).chunk(2)
        device = chosen_B.device
        chosen_B = chosen_B - to_device(torch.tensor([row.reference_chosen for row in rows]), device)
        rejected_B = rejected_B - to_device(torch.tensor([row.reference_rejected for row in rows]), device)
        labels_B = to_device(torch.tensor([row.p_chosen for row in rows]), device)
        weights_B = to_device(torch.tensor([row.weight for row in rows]), device)
        loss = (weights_B * direct_preference_loss(chosen_B, rejected_B, labels_B, self.beta)).sum()
        decided_B = labels_B != 0.5
        right_B = ordered_as_labelled(chosen_B, rejected_B, labels_B)
        margin = self.beta * (chosen_B - rejected_B).detach().sum()
        return loss, {
            "tokens": sum(row.length - row.start for row in examples),
            "decided": decided_B.sum(),
            "ordered": right_B.sum(),
            "margin": margin,
        }
