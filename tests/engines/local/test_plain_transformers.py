"""Architectures with attention or positions of their own say what plain transformers says, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tests.engines.tiny import WINDOW, byte_tokenizer, full_logprobs, question, questions, with_example
from transformers import (
    Gemma3nForCausalLM,
    Gemma3nTextConfig,
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
)

from solon.config.recipe import EngineSettings, SamplingParams
from solon.conversation import Prompt
from solon.engines.local.engine import LocalEngine
from solon.errors import EngineError, ModelError
from solon.training.models import window_of

FIRST = 64
"""The tokens that the model with LongRoPE reads with its first set of frequencies."""
SIZES: dict[str, Any] = {
    "vocab_size": 420,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": WINDOW,
    "initializer_range": 0.3,
    "pad_token_id": 1,
    "eos_token_id": 0,
    "bos_token_id": 0,
}
GROUPED = {**SIZES, "num_key_value_heads": 2, "intermediate_size": 48}


def asked(count: int) -> list[Prompt]:
    """Prompts of many lengths; most of them share a worked example of more than 16 tokens."""
    return [prompt if number % 4 == 3 else with_example(prompt) for number, prompt in enumerate(questions(count))]


def ids_of(engine: LocalEngine, prompt: Prompt) -> list[int]:
    return list(engine.tokens.encode(["".join(engine.rendering.render(prompt))])[0])


def plain_reply(model: Any, ids: Sequence[int], count: int) -> tuple[int, ...]:
    """The likeliest tokens by full passes over one row, without a cache."""
    found = list(ids)
    for _ in range(count):
        found.append(int(full_logprobs(model, found)[-1].argmax()))
        if found[-1] == 0:
            break
    return tuple(found[len(ids) :])


def assert_plain(model: Any, prompts: Sequence[Prompt], settings: EngineSettings | None = None) -> LocalEngine:
    """The engine of this model, after its letters and its texts were found to be those of plain transformers."""
    model = model.double().eval()
    engine = LocalEngine(model, byte_tokenizer(), settings)
    letters = [engine.continuation(prompts[0], ["A", "B"]).options[which][0] for which in (0, 1)]
    for prompt, found in zip(prompts, engine.choose(prompts, ["A", "B"]), strict=True):
        logprobs = full_logprobs(model, ids_of(engine, prompt))[-1]
        assert found == pytest.approx([float(logprobs[letter]) for letter in letters], abs=2e-5)
    written = engine.generate(prompts, range(len(prompts)), SamplingParams(max_tokens=16, temperature=0.0))
    for prompt, completion in zip(prompts, written, strict=True):
        ids = ids_of(engine, prompt)
        assert completion.token_ids == plain_reply(model, ids, min(16, engine.window - len(ids)))
    return engine


def long_rope() -> Any:
    torch.manual_seed(7)
    scaling = {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0, 8.0, 12.0, 16.0]}
    more: dict[str, Any] = {"original_max_position_embeddings": FIRST, "rope_scaling": scaling}
    return Phi3ForCausalLM(Phi3Config(**GROUPED, **more))


def test_long_rope_is_read_with_its_first_frequencies() -> None:
    """The window ends where the second set begins, which one long row would set for all rows of its pass."""
    short = [question(text) for text in ("how do I bake?", "why does it rain at the old station?", "bread", "to me?")]
    engine = assert_plain(long_rope(), [*short, with_example(question("a"))])
    assert engine.window == FIRST and "the window is 64 tokens, not 160" in engine.remarks[0]
    with pytest.raises(EngineError, match="fills the window of 64"):
        engine.choose([*short, with_example(questions(12)[11])], ["A", "B"])


def test_a_window_beyond_the_first_frequencies_is_refused() -> None:
    assert not LocalEngine(long_rope(), byte_tokenizer(), EngineSettings(window=FIRST)).remarks
    with pytest.raises(ModelError, match=r"more than 64 tokens changes the model's rotary frequencies") as caught:
        LocalEngine(long_rope(), byte_tokenizer(), EngineSettings(window=FIRST + 1))
    assert "engine.window=64" in caught.value.remedy


def test_training_has_the_same_window() -> None:
    assert window_of(long_rope(), EngineSettings()) == FIRST
    assert window_of(long_rope(), EngineSettings(window=20)) == 20


def test_dynamic_frequencies_do_not_change_within_the_window() -> None:
    torch.manual_seed(7)
    more: dict[str, Any] = {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}
    assert assert_plain(LlamaForCausalLM(LlamaConfig(**GROUPED, **more)), asked(9)).window == WINDOW


def gpt_neo() -> Any:
    """Every other layer sees 16 tokens, by the columns of the cache."""
    torch.manual_seed(7)
    sizes = {name: size for name, size in SIZES.items() if not name.startswith("num_")}
    kinds = [[["global", "local"], 2]]
    return GPTNeoForCausalLM(GPTNeoConfig(**sizes, num_layers=4, num_heads=4, attention_types=kinds, window_size=16))


def test_local_layers_that_mask_by_columns() -> None:
    model = gpt_neo()
    engine = assert_plain(model, asked(12), EngineSettings(batch_size=5))
    assert engine.choose(asked(3), ["the A", "B"])[0] == pytest.approx(summed(engine, asked(3)[0], ["the A", "B"]))


def test_rows_up_to_the_whole_window_fit_the_table_of_columns() -> None:
    """Gaps would make more columns than the model has positions."""
    model = gpt_neo().double()
    window = max(len(ids_of(LocalEngine(model, byte_tokenizer()), prompt)) for prompt in asked(13)) + 1
    assert_plain(model, [*asked(13), question("a " * (window // 3))], EngineSettings(window=window))


def summed(engine: LocalEngine, prompt: Prompt, options: Sequence[str]) -> list[float]:
    """The log-probability of each option by a full pass over the prompt with the option."""
    bare, found = ids_of(engine, prompt), []
    for tokens in engine.continuation(prompt, options).options:
        logprobs = full_logprobs(engine.model, [*bare, *tokens])
        found.append(sum(float(logprobs[len(bare) - 1 + place, token]) for place, token in enumerate(tokens)))
    return found


SHARED: dict[str, Any] = {
    **GROUPED,
    "head_dim": 8,
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 2,
    "sliding_window": 16,
    "vocab_size_per_layer_input": 420,
    "hidden_size_per_layer_input": 8,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}


def gemma3n() -> Any:
    return Gemma3nForCausalLM(Gemma3nTextConfig(**SHARED, laurel_rank=4, activation_sparsity_pattern=[0.0] * 4))


def gemma4() -> Any:
    return Gemma4ForCausalLM(Gemma4TextConfig(**SHARED))


@pytest.mark.parametrize("make", [gemma3n, gemma4])
def test_layers_that_read_the_keys_of_others(make: Any) -> None:
    torch.manual_seed(7)
    model = make()
    engine = assert_plain(model, asked(9), EngineSettings(batch_size=4))
    assert engine._prefixes.computed == 1
    assert engine.choose(asked(3), ["the A", "B"])[0] == pytest.approx(summed(engine, asked(3)[0], ["the A", "B"]))
