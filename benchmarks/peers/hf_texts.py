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
from transformers import ContinuousBatchingConfig, GenerationConfig, StoppingCriteria, StoppingCriteriaList

from benchmarks.peers.hf_labels import repeated
from benchmarks.peers.models import language_model_in
from benchmarks.peers.protocol import Floor
from benchmarks.peers.tasks import AskingTask, Phase, read_task

PAGE = 32
"""Tokens in a page of the cache: rows have about a hundred."""


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


class Continuous:
    """Continuous batching: a row that ends makes room for the next. Its manager serves all repeats.

    The cache is as large as all rows need together, and a batch holds all prompts: without these numbers transformers
    takes nine tenths of the memory, as on a GPU.
    """

    def __init__(self, model: Any, task: AskingTask) -> None:
        pages = sum(
            -(-(len(row) + limit) // PAGE)
            for phase in task.phases
            for row, limit in zip(phase.whole, phase.limits, strict=True)
        )
        self.manager = model.init_continuous_batching(
            generation_config=settings(max(max(phase.limits) for phase in task.phases)),
            continuous_batching_config=ContinuousBatchingConfig(
                page_size=PAGE,
                num_blocks=pages + len(task.phases[0].own),
                max_batch_tokens=max(sum(map(len, phase.whole)) for phase in task.phases),
                max_requests_per_batch=task.rows,
            ),
        )
        self.manager.start()

    def __call__(self, model: Any, phase: Phase) -> int:
        """Have the rows of a phase written."""
        for row, limit in zip(phase.whole, phase.limits, strict=True):
            self.manager.add_request(input_ids=list(row), max_new_tokens=limit)
        done = 0
        for _ in phase.limits:
            result = self.manager.get_result(timeout=600)
            if result is None or result.error:
                raise RuntimeError(f"continuous batching gave no answer: {result}")
            done += len(result.generated_tokens)
        return done


WAYS: Mapping[str, Callable[[Any, Phase], int]] = {"generate": by_generate, "single": by_single, "prefix": by_prefix}


def main() -> None:
    """Arguments: the task's file, the way, the dtype."""
    floor = Floor()
    path, way, dtype = sys.argv[1:]
    task = read_task(AskingTask, path)
    torch.set_num_threads(task.threads)
    torch.manual_seed(0)
    model = language_model_in(task.model, dtype).eval()
    model.generation_config = settings(1)

    write = Continuous(model, task) if way == "continuous" else WAYS[way]

    @torch.inference_mode()
    def work() -> tuple[float, list[float]]:
        return sum(write(model, phase) for phase in task.phases), []

    floor.ready("torch", "transformers")
    floor.serve(work)
    if isinstance(write, Continuous):
        write.manager.stop(block=True)


if __name__ == "__main__":
    main()
