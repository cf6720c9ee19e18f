"""Letters by transformers: `forward` reads every question whole, `prefix` reads the common beginning once.

`forward` is what a short script does: one forward pass over four questions at a time (more are no faster on a CPU),
with logits at the last position only. It answers a part of the questions, since its time for each depends on no other.
`prefix` keeps the keys and values of the beginning: they are repeated for each batch once, and cut back to the
beginning after it. All own parts have the same length, so neither pads.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from benchmarks.peers.models import language_model_in
from benchmarks.peers.protocol import Floor
from benchmarks.peers.tasks import AskingTask, Phase, read_task

FORWARD_ROWS = 4


def log_odds(logits_BV: torch.Tensor, options: Sequence[int]) -> list[float]:
    """The first option's log-probability less the second's."""
    chosen_B2 = torch.log_softmax(logits_BV.float(), dim=-1)[:, list(options[:2])]
    return [float(each) for each in chosen_B2[:, 0] - chosen_B2[:, 1]]


def batches(rows: Sequence[Sequence[int]], size: int) -> Iterator[torch.Tensor]:
    """Rows of one length as tensors."""
    for start in range(0, len(rows), size):
        yield torch.tensor(rows[start : start + size])


def by_forward(model: torch.nn.Module, task: AskingTask) -> list[float]:
    """Every question whole."""
    whole = task.phases[0].whole[: task.sample or None]
    found: list[float] = []
    for ids_BT in batches(whole, FORWARD_ROWS):
        logits_BTV = model(input_ids=ids_BT, use_cache=False, logits_to_keep=1).logits
        found += log_odds(logits_BTV[:, -1], task.options)
    return found


def by_prefix(model: torch.nn.Module, task: AskingTask) -> list[float]:
    """The beginning once."""
    phase: Phase = task.phases[0]
    found: list[float] = []
    kept: DynamicCache | None = None
    width = 0
    read = model(input_ids=torch.tensor([phase.shared]), use_cache=True, logits_to_keep=1).past_key_values
    for ids_BT in batches(phase.own, task.rows):
        if kept is None or len(ids_BT) != width:
            kept, width = repeated(read, len(ids_BT)), len(ids_BT)
        logits_BTV = model(input_ids=ids_BT, past_key_values=kept, use_cache=True, logits_to_keep=1).logits
        kept.crop(-ids_BT.shape[1])
        found += log_odds(logits_BTV[:, -1], task.options)
    return found


def repeated(cache: Any, rows: int) -> DynamicCache:
    """A cache for so many rows; the given one stays as it is."""
    layers = [
        (layer.keys.repeat_interleave(rows, dim=0), layer.values.repeat_interleave(rows, dim=0))
        for layer in cache.layers
    ]
    return DynamicCache(layers)


def main() -> None:
    """Arguments: the task's file, the way, the dtype."""
    floor = Floor()
    path, way, dtype = sys.argv[1:]
    task = read_task(AskingTask, path)
    torch.set_num_threads(task.threads)
    model = language_model_in(task.model, dtype).eval()
    ways = {"forward": by_forward, "prefix": by_prefix}

    @torch.inference_mode()
    def work() -> tuple[float, list[float]]:
        found = ways[way](model, task)
        return len(found), found

    floor.ready("torch", "transformers")
    floor.serve(work)


if __name__ == "__main__":
    main()
