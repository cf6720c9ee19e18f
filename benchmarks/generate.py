"""Tokens per second of the local engine against transformers' `generate`, in one run and alternating.

A Llama of 2.4 M parameters with random weights answers 128 prompts of 20 tokens with 32 tokens each, at temperature 1.
Run: OMP_NUM_THREADS=1 python benchmarks/generate.py [--rounds 5] [--threads 1]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from solon.config.recipe import EngineSettings, SamplingParams
from solon.engines.local.batch import Prefixes
from solon.engines.local.causal_model import CausalModel
from solon.engines.local.generation import Ending, GenerationRequest, generate
from solon.engines.local.row_budget import RowBudget
from solon.engines.token_rows import DecodingRow

PROMPTS, PROMPT_TOKENS, NEW_TOKENS, WINDOW = 128, 20, 32, 512


def tiny_llama() -> LlamaForCausalLM:
    """The testbed's size: hidden 192, 5 layers, 6 heads, 2 key-value heads, 2048 tokens."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=True,
        eos_token_id=None,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def by_transformers(model: LlamaForCausalLM, ids: torch.Tensor) -> None:
    """Transformers' `generate`."""
    model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        top_k=0,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
    )


def by_solon(forward: CausalModel, ids: torch.Tensor) -> None:
    """The engine's loop."""
    requests = [
        GenerationRequest(DecodingRow((), tuple(row)), seed, NEW_TOKENS) for seed, row in enumerate(ids.tolist())
    ]
    ending = Ending(lambda tokens: "", (), (), lambda: ())
    budget = RowBudget.of(EngineSettings(batch_size=PROMPTS), forward)
    generate(forward, requests, SamplingParams(max_tokens=NEW_TOKENS), ending, Prefixes(), budget)


def main() -> None:
    """Print the median of each contestant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = tiny_llama()
    ids = torch.randint(1, 2048, (PROMPTS, PROMPT_TOKENS))
    forward = CausalModel(model, WINDOW)
    contestants: dict[str, Callable[[], None]] = {
        "transformers generate": lambda: by_transformers(model, ids),
        "solon": lambda: by_solon(forward, ids),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    processor: dict[str, list[float]] = {name: [] for name in contestants}
    for round_number in range(options.rounds + 1):
        for name, run in contestants.items():
            start, worked = time.perf_counter(), time.process_time()
            run()
            if round_number:  # The first round warms up.
                seconds[name].append(time.perf_counter() - start)
                processor[name].append(time.process_time() - worked)
    print(f"{PROMPTS} prompts of {PROMPT_TOKENS} tokens, {NEW_TOKENS} new tokens each, {options.threads} thread(s)")
    # On a busy machine the wall clock includes other processes; processor time does not.
    for clock, measured in (("wall clock", seconds), ("processor time", processor)):
        first = statistics.median(measured["transformers generate"])
        for name, times in measured.items():
            median = statistics.median(times)
            rate = PROMPTS * NEW_TOKENS / median
            print(f"{clock:15s} {name:22s} {rate:7.0f} tokens/s  {first / median:5.2f}x")


if __name__ == "__main__":
    main()
