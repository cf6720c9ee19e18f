"""Texts by transformers: `generate`, `continuous`, `single` and `prefix`.

`generate` takes all rows of a phase in one batch; a row ends where the plan says, by a stopping criterion for each row,
and the batch ends with its last row, as with natural ends. `continuous` is continuous batching with paged attention.
`single` is a row at a time. `prefix` passes the keys and values of the common beginning to `generate`. All sample at
temperature 1 from the whole vocabulary. Prompts of unequal length are padded on the left.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from benchmarks.peers.hf_labels import repeated
from benchmarks.peers.models import language_model_in
from benchmarks.peers.protocol import Floor
from benchmarks.peers.tasks import AskingTask, Phase, read_task


class PlannedEnds(StoppingCriteria):
    """Ends each row after as many new tokens as the plan has for it."""

    def __init__(self, prompt: int, limits: Sequence[int]) -> None:
        self.prompt = prompt
        self.limits_B = torch.tensor(limits)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        """See `StoppingCriteria`."""
        return self.limits_B <= input_ids.shape[1] - self.prompt


def settings(longest: int) -> GenerationConfig:
    """Sampling at temperature 1, without a natural end."""
    made: Any = GenerationConfig
    config: GenerationConfig = made(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=longest, eos_token_id=None, pad_token_id=0
    )
    return config


def written(model: Any, rows: Sequence[Sequence[int]], limits: Sequence[int], **more: object) -> int:
    """One call of `generate`; returns how many tokens the rows got, each up to its planned end."""
    longest = max(map(len, rows))
    ids_BT = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows])
    mask_BT = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    ends = StoppingCriteriaList([PlannedEnds(longest, limits)])
    out_BT = model.generate(
        ids_BT, attention_mask=mask_BT, generation_config=settings(max(limits)), stopping_criteria=ends, **more
    )
    made = out_BT.shape[1] - longest
    return sum(min(made, limit) for limit in limits)


def by_generate(model: Any, phase: Phase) -> int:
    """All rows in one batch."""
    return written(model, phase.whole, phase.limits)


def by_single(model: Any, phase: Phase) -> int:
    """A row at a time."""
    return sum(written(model, [row], [limit]) for row, limit in zip(phase.whole, phase.limits, strict=True))


def by_prefix(model: Any, phase: Phase) -> int:
    """All rows in one batch, the beginning read once."""
    read = model(input_ids=torch.tensor([phase.shared]), use_cache=True, logits_to_keep=1).past_key_values
    return written(model, phase.whole, phase.limits, past_key_values=repeated(read, len(phase.own)))


def by_continuous(model: Any, phase: Phase) -> int:
    """Continuous batching: a row that ends makes room for the next."""
    config = settings(max(phase.limits))
    with model.continuous_batching_context_manager(generation_config=config, block=True, timeout=60) as manager:
        for number, (row, limit) in enumerate(zip(phase.whole, phase.limits, strict=True)):
            manager.add_request(input_ids=row, request_id=str(number), max_new_tokens=limit)
        done = 0
        for _ in phase.limits:
            result = manager.get_result(timeout=600)
            if result is None or result.error:
                raise RuntimeError(f"continuous batching gave no answer: {result}")
            done += len(result.generated_tokens)
    return done


WAYS: Mapping[str, Callable[[Any, Phase], int]] = {
    "generate": by_generate,
    "single": by_single,
    "prefix": by_prefix,
    "continuous": by_continuous,
}


def main() -> None:
    """Arguments: the task's file, the way, the dtype."""
    floor = Floor()
    path, way, dtype = sys.argv[1:]
    task = read_task(AskingTask, path)
    torch.set_num_threads(task.threads)
    torch.manual_seed(0)
    model = language_model_in(task.model, dtype).eval()
    model.generation_config = settings(1)

    @torch.inference_mode()
    def work() -> tuple[float, list[float]]:
        return sum(WAYS[way](model, phase) for phase in task.phases), []

    floor.ready("torch", "transformers")
    floor.serve(work)


if __name__ == "__main__":
    main()
