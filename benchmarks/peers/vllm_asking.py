"""vLLM on a CPU, with prefix caching: `labels` asks for the log-probabilities of the options, `texts` for texts.

The engine runs in this process, with vLLM's own defaults but for the memory of its cache. What it keeps of earlier
repeats is dropped before each: otherwise it would answer the second one without reading any prompt. It is reached by
`vllm.LLM`, as its documentation recommends for work that is all there at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.peers.protocol import Floor
from benchmarks.peers.tasks import AskingTask, read_task

CACHE_GIB = 4


def answers(llm: Any, rows: Sequence[Sequence[int]], wanted: Sequence[dict[str, Any]]) -> list[Any]:
    """The first output of each prompt."""
    from vllm import SamplingParams

    prompts: Any = [{"prompt_token_ids": list(row)} for row in rows]
    given = llm.generate(prompts, [SamplingParams(**each) for each in wanted], use_tqdm=False)
    return [each.outputs[0] for each in given]


def labels(llm: Any, task: AskingTask) -> tuple[float, list[float]]:
    """Log-odds of the first two options."""
    whole, options = task.phases[0].whole, list(task.options)
    wanted = {"max_tokens": 1, "temperature": 0.0, "logprob_token_ids": options, "detokenize": False}
    found = [each.logprobs[0] for each in answers(llm, whole, [wanted] * len(whole))]
    return len(whole), [each[options[0]].logprob - each[options[1]].logprob for each in found]


def texts(llm: Any, task: AskingTask) -> tuple[float, list[float]]:
    """Sampled texts of the planned lengths."""
    done = 0
    for phase in task.phases:
        wanted = [
            {"max_tokens": limit, "temperature": 1.0, "ignore_eos": True, "detokenize": False, "seed": number}
            for number, limit in enumerate(phase.limits)
        ]
        done += sum(len(each.token_ids) for each in answers(llm, phase.whole, wanted))
    return done, []


def main() -> None:
    """Arguments: the task's file, the way, the dtype."""
    floor = Floor()
    path, way, dtype = sys.argv[1:]
    task = read_task(AskingTask, path)
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(CACHE_GIB))
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{task.threads - 1}" if task.threads > 1 else "0")
    from vllm import LLM

    llm = LLM(
        model=task.model,
        dtype=dtype,
        max_model_len=task.window,
        enable_prefix_caching=True,
        max_num_seqs=max(task.rows, 1),
        generation_config="vllm",
        seed=0,
    )
    ways = {"labels": labels, "texts": texts}

    def work() -> tuple[float, list[float]]:
        llm.reset_prefix_cache()
        return ways[way](llm, task)

    floor.ready("torch", "transformers", "vllm-cpu")
    floor.serve(work)


if __name__ == "__main__":
    main()
