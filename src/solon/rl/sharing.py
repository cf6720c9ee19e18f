"""A rollout measured by several processes: each takes some of the replies, and all get everything.

Figures are laid into zeros at the rows that a process measured, and the layouts are added up: adding zeros changes no
bit, so the whole is what the parts were. One process alone measures as if this file were not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from solon.rl.rollout import Reply
from solon.runs.processes import Processes


def by_share(
    processes: Processes, replies: Sequence[Reply], measure: Callable[[Sequence[Reply]], Sequence[Tensor]]
) -> Sequence[Tensor]:
    """Figures by response token, each (B, T) with T the longest response; `measure` gives them for some replies."""
    if processes.count == 1:
        return measure(replies)
    rows = _dealt(processes, replies)
    # A process without a reply measures one all the same, in step with the others, and lays it nowhere.
    measured = measure([replies[row] for row in rows] or replies[:1])
    longest = max(len(reply.response) for reply in replies)
    laid_FBT = torch.zeros(len(measured), len(replies), longest)
    for laid_BT, part_BT in zip(laid_FBT, measured, strict=True):
        laid_BT[rows, : part_BT.shape[1]] = part_BT[: len(rows)]
    processes.add([laid_FBT])
    return list(laid_FBT)


def scores_by_share(
    processes: Processes, replies: Sequence[Reply], score: Callable[[Sequence[Reply]], Tensor]
) -> Tensor:
    """One figure for each reply, shape (B); `score` gives it for some replies."""
    if processes.count == 1:
        return score(replies)
    rows = _dealt(processes, replies)
    scores_B = torch.zeros(len(replies))
    if rows:
        scores_B[rows] = score([replies[row] for row in rows])
    processes.add([scores_B])
    return scores_B


def _dealt(processes: Processes, replies: Sequence[Reply]) -> list[int]:
    """The rows that are this process's: long ones and short ones alike."""
    return list(processes.share(sorted(range(len(replies)), key=lambda row: replies[row].length, reverse=True)))
