"""Rows in flight by the memory that they take, counted on real caches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.engines.tiny import WINDOW, byte_tokenizer, model_of, questions, with_example
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from solon.config.recipe import EngineSettings, SamplingParams
from solon.engines.local.causal_model import CausalModel
from solon.engines.local.engine import LocalEngine
from solon.engines.local.kv_cache import CacheSize, KeyValueCache
from solon.engines.local.row_budget import GIB, RowBudget, default_memory, free_memory
from solon.engines.local.split_rows import SplitRow
from solon.engines.local.waiting import Waiting, WaitingRow
from solon.model_folders.system_memory import SystemMemory

MIB = 1 << 20


def large(kind: str) -> CausalModel:
    """A model of seven billion parameters, without its numbers."""
    with torch.device("meta"):
        if kind == "llama2":
            sizes = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32}
            model: Any = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=32))
        else:
            sizes = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "vocab_size": 152064}
            model = Qwen2ForCausalLM(Qwen2Config(**sizes, num_attention_heads=28, num_key_value_heads=4))
    return CausalModel(model.to(torch.bfloat16), 4096)


@pytest.mark.parametrize(
    ("kind", "column", "vocabulary"),
    [("llama2", 2 * 32 * 32 * 128 * 2, 32000), ("qwen2", 2 * 28 * 4 * 128 * 2, 152064)],
)
def test_a_7b_model_takes_what_its_layers_and_heads_say(kind: str, column: int, vocabulary: int) -> None:
    model = large(kind)
    assert model.column_bytes == column
    assert model.position_bytes == 4 * 4 * vocabulary


def test_the_default_batch_of_a_7b_model_is_split_to_fit() -> None:
    model = large("llama2")
    rows = [SplitRow((7,) * 1500, (), (number,) * (200 + number)) for number in range(128)]
    budget = RowBudget(128, 16 * GIB, model.column_bytes, model.position_bytes)
    assert 128 * 1955 * model.column_bytes > 110 * GIB, "all of them together take over 110 GiB"
    waiting = Waiting([WaitingRow(number, row, 128) for number, row in enumerate(rows)], budget)
    admitted = []
    while waiting:
        admission = waiting.next(0, 0)
        assert admission is not None
        admitted.append(admission)
    taken = [
        (each.room.rows * each.room.columns * model.column_bytes + len(each.rows) * model.position_bytes) / budget.bytes
        for each in admitted
    ]
    assert max(taken) <= 1
    assert min(taken[:-1]) > 0.85, "no pass is wasted"
    assert all(len(each.rows) == each.room.rows for each in admitted)
    assert sorted(row.number for each in admitted for row in each.rows) == list(range(128))


def test_a_row_that_does_not_fit_goes_alone() -> None:
    rows = [SplitRow((), (), (1,) * size) for size in (5, 50, 3, 4)]
    waiting = Waiting([WaitingRow(number, row, 1) for number, row in enumerate(rows)], RowBudget(8, 310, 10, 0))
    parts = []
    while waiting:
        admission = waiting.next(0, 0)
        assert admission is not None
        parts.append([row.number for row in admission.rows])
    assert parts == [[1], [0, 3], [2]]


def tiny_deepseek() -> Any:
    """A cache of compressed keys and values, so heads and their width do not give its size."""
    torch.manual_seed(7)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8}
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "first_k_dense_replace": 2}
    ranks = {"v_head_dim": 6, "q_lora_rank": 8, "kv_lora_rank": 8}
    config = DeepseekV3Config(
        vocab_size=420, max_position_embeddings=WINDOW, pad_token_id=1, eos_token_id=0, **heads, **sizes, **ranks
    )
    return DeepseekV3ForCausalLM(config).eval()


@pytest.mark.parametrize("kind", ["llama", "neox", "gpt2", "gemma2", "deepseek"])
@pytest.mark.parametrize("asked", ["generate", "choose"])
def test_the_cache_stays_within_the_memory_and_no_answer_moves(
    kind: str, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_deepseek().double() if kind == "deepseek" else model_of(kind)
    prompts = [with_example(prompt) if number % 3 else prompt for number, prompt in enumerate(questions(48))]
    peak: list[int] = []
    rows_in_flight: list[int] = []
    forward = CausalModel.forward

    def counted(self: CausalModel, *given: Any) -> torch.Tensor:
        logits = forward(self, *given)
        cache: KeyValueCache = given[3]
        peak.append(cache.bytes)
        rows_in_flight.append(len(given[0]))
        return logits

    def answers(engine: LocalEngine) -> tuple[int, list[Any]]:
        peak.clear()
        rows_in_flight.clear()
        if asked == "choose":
            answers: list[Any] = list(engine.choose(prompts, ["yes", "not at all"]))
        else:
            sampling = SamplingParams(max_tokens=24)
            answers = [each.token_ids for each in engine.generate(prompts, range(len(prompts)), sampling)]
        return max(peak), answers

    memory = (0.625 if asked == "choose" else 0.75) * MIB if kind == "deepseek" else 1.5 * MIB
    wide = LocalEngine(model, byte_tokenizer(), EngineSettings(memory_gib=1))
    narrow = LocalEngine(model, byte_tokenizer(), EngineSettings(memory_gib=memory / GIB))
    monkeypatch.setattr(CausalModel, "forward", counted)
    most, expected = answers(wide)
    least, found = answers(narrow)
    assert narrow.budget.bytes == memory < most
    assert least <= narrow.budget.bytes
    assert rows_in_flight and max(rows_in_flight) > 4, "the memory is used"
    if asked == "choose":
        assert [pytest.approx(row, abs=1e-6) for row in expected] == found
    else:
        assert expected == found


def test_what_is_measured_is_what_the_cache_takes() -> None:
    model = tiny_deepseek()
    forward = CausalModel(model, WINDOW)
    cache = forward.new_cache(CacheSize(1, 9))
    ids_15 = torch.arange(5).unsqueeze(0)
    with torch.no_grad():
        forward.forward(ids_15, ids_15, None, cache, 1)
    assert cache.bytes == 9 * forward.column_bytes == 9 * 2 * (8 + 4) * 4


def test_measuring_leaves_a_model_in_training_as_it_was() -> None:
    model = model_of("gpt2").train()
    model.config.resid_pdrop = model.transformer.drop.p = 0.5
    state = torch.random.get_rng_state()
    LocalEngine(model, byte_tokenizer())
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_memory_bound_is_shown() -> None:
    assert RowBudget(128, 8 * GIB, 512, 1000).summary(1024) is None
    line = RowBudget(128, 8 * GIB, 46080, 786432).summary(8192)
    assert line is not None
    assert "8 GiB" in line and "engine.memory_gib" in line and " 22 of them" in line and "8,192 tokens" in line
    assert "1 of them" in (RowBudget(128, MIB, 524288, 0).summary(4096) or "")


@pytest.mark.parametrize(
    ("free", "taken"),
    [
        (None, 4 * GIB),
        (20 * GIB, 8 * GIB),
        (16 * GIB, 8 * GIB),
        (15 * GIB, 4 * GIB),
        (140 * GIB, 64 * GIB),
        (0, 64 * MIB),
    ],
)
def test_the_default_is_a_power_of_two_within_half_of_what_is_free(free: int | None, taken: int) -> None:
    assert default_memory(free) == taken


def test_processes_on_one_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    found = SystemMemory(total=32 * GIB, free=12 * GIB)
    monkeypatch.setattr("solon.engines.local.row_budget.system_memory", lambda: found)
    for size, free in (("4", 3 * GIB), ("", 12 * GIB), ("0", 12 * GIB)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", size)
        assert free_memory(torch.device("cpu")) == free


def test_an_engine_takes_the_setting_or_finds_its_memory() -> None:
    model = model_of("llama")
    assert LocalEngine(model, byte_tokenizer(), EngineSettings(memory_gib=0.25, batch_size=3)).budget.bytes == GIB // 4
    for absurd in (1e-12, float("inf")):
        settings = EngineSettings.model_construct(**{**EngineSettings().__dict__, "memory_gib": absurd})
        assert LocalEngine(model, byte_tokenizer(), settings).budget.bytes > 0
    found = LocalEngine(model, byte_tokenizer()).budget
    assert found.bytes == 1 << (found.bytes.bit_length() - 1)
    assert found.rows == 128
