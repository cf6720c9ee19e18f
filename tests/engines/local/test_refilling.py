"""Rows that take the slots of finished ones: their texts, the passes that this saves, and the memory that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from tests.engines.tiny import byte_tokenizer, full_logprobs, model_of, questions, with_example

from solon.config.recipe import EngineSettings, SamplingParams
from solon.conversation import Prompt
from solon.engines.base import Completion
from solon.engines.local.causal_model import CausalModel
from solon.engines.local.engine import LocalEngine
from solon.engines.local.kv_cache import KeyValueCache, PreallocatedLayer
from solon.engines.local.row_budget import RowBudget
from solon.engines.local.split_rows import SplitRow
from solon.engines.local.waiting import Waiting, WaitingRow

KINDS = ["llama", "qwen2", "neox", "gpt2", "mistral", "gemma2"]
SAMPLING = SamplingParams(max_tokens=40, temperature=1.5)


@dataclass
class Passes:
    """What went through a model: rows and tokens of each pass, columns seen, and the reserved columns."""

    prefills: list[tuple[int, int]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    reserved: list[int] = field(default_factory=list)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    """Counts the passes of all models, from the moment at which the lists are cleared."""
    counted = Passes()
    forward = CausalModel.forward

    def noted(self: CausalModel, ids: torch.Tensor, *given: Any) -> torch.Tensor:
        logits = forward(self, ids, *given)
        cache: KeyValueCache = given[2]
        counted.steps.append(len(ids)) if ids.shape[1] == 1 else counted.prefills.append((ids.shape[0], ids.shape[1]))
        counted.seen.append(cache.start + ids.shape[1] - cache.first)
        counted.reserved.append(cache.size.columns)
        return logits

    monkeypatch.setattr(CausalModel, "forward", noted)
    return counted


def ragged(kind: str, batch: int) -> LocalEngine:
    """An engine whose rows end after very different numbers of tokens: any token can serve as the end."""
    engine = LocalEngine(model_of(kind), byte_tokenizer(), EngineSettings(batch_size=batch))
    engine.end_tokens = frozenset(range(0, 400, 20))
    return engine


def asked(count: int) -> list[Prompt]:
    return [with_example(prompt) if number % 3 == 0 else prompt for number, prompt in enumerate(questions(count))]


def written(engine: LocalEngine, prompts: Sequence[Prompt]) -> list[Completion]:
    return engine.generate(prompts, range(len(prompts)), SAMPLING)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_in_refilled_slots_are_those_of_rows_alone(kind: str) -> None:
    prompts = asked(20)
    alone, together = written(ragged(kind, 1), prompts), written(ragged(kind, 4), prompts)
    assert [(each.token_ids, each.finish) for each in together] == [(each.token_ids, each.finish) for each in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_texts_in_refilled_slots_are_those_of_transformers(kind: str) -> None:
    engine = ragged(kind, 4)
    prompts = asked(10)
    greedy = engine.generate(prompts, [0] * 10, SamplingParams(max_tokens=30, temperature=0))
    assert len({len(completion.token_ids) for completion in greedy}) > 1
    for prompt, completion in zip(prompts, greedy, strict=True):
        (row,) = engine.tokens.rows([prompt])
        ids = [*row.prefix, *row.own]
        own = full_logprobs(engine.model, ids + list(completion.token_ids))[len(ids) - 1 : -1]
        assert own.argmax(-1).tolist() == list(completion.token_ids)


def test_ragged_rows_leave_few_slots_empty(passes: Passes) -> None:
    engine, prompts = ragged("llama", 8), asked(64)
    passes.prefills.clear()
    passes.steps.clear()
    lengths = [len(completion.token_ids) for completion in written(engine, prompts)]
    assert max(lengths) > 2 * sum(lengths) / 64, "the lengths differ"
    # The first token of a row comes from its prefill.
    needed = sum(lengths) - 64
    assert sum(passes.steps) <= 1.15 * needed
    # Eight batches one after the other, each as long as its longest row.
    in_turn = sum(max(lengths[start : start + 8]) - 1 for start in range(0, 64, 8))
    assert len(passes.steps) < 0.65 * in_turn
    assert len(passes.prefills) < 64, "rows are admitted in groups"
    assert max(passes.steps) == 8


def test_columns_that_nobody_sees_are_given_up(passes: Passes) -> None:
    engine, prompts = ragged("llama", 5), questions(40)
    longest = max(engine.count_tokens(prompt) for prompt in prompts) + SAMPLING.max_tokens
    passes.seen.clear()
    passes.reserved.clear()
    lengths = [len(completion.token_ids) for completion in written(engine, prompts)]
    assert len(passes.steps) > 2 * longest and sum(lengths) > 4 * longest, "a cache that only grew would be longer"
    assert max(passes.seen) <= longest
    assert max(passes.reserved) <= longest + longest // 8 + 8


def test_memory_is_reserved_once_for_a_long_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prefix and more than 64 tokens after it: no layer is moved while the prompt is read."""
    reserved: list[str] = []
    for name in ("lazy_initialization", "lay"):
        made = getattr(PreallocatedLayer, name)

        def noted(self: PreallocatedLayer, *given: Any, name: str = name, made: Any = made) -> None:
            if name == "lazy_initialization" or self.is_initialized:
                reserved.append(name)
            made(self, *given)

        monkeypatch.setattr(PreallocatedLayer, name, noted)
    engine = LocalEngine(model_of("llama"), byte_tokenizer())
    (prompt,) = questions(1)
    while engine.count_tokens(prompt) < 70:
        prompt = Prompt((*prompt.turns, *prompt.turns))
    for ask in (lambda: engine.choose([with_example(prompt)], "AB"), lambda: written(engine, [with_example(prompt)])):
        engine.refresh()
        reserved.clear()
        ask()
        layers = engine._forward.layers
        assert reserved == ["lazy_initialization"] * 2 * layers, "once for the prefix, once for the row"


def waiting_rows(sizes: Sequence[int], limit: int = 10) -> list[WaitingRow]:
    return [WaitingRow(number, SplitRow((), (), (number,) * size), limit) for number, size in enumerate(sizes)]


def test_rows_are_admitted_when_an_eighth_of_the_slots_is_free() -> None:
    waiting = Waiting(waiting_rows(range(1, 41)), RowBudget(16, 1 << 30, 1, 1))
    first = waiting.next(0, 0)
    assert first is not None
    assert [each.number for each in first.rows] == list(range(39, 23, -1)), "the longest first"
    assert waiting.next(16, 50) is None and waiting.next(15, 50) is None
    second = waiting.next(14, 50)
    assert second is not None and [each.number for each in second.rows] == [23, 22]
    assert second.room.rows == 16


def test_the_last_rows_do_not_wait_for_more_slots_than_they_take() -> None:
    waiting = Waiting(waiting_rows(range(1, 18)), RowBudget(16, 1 << 30, 1, 1))
    assert waiting.next(0, 0) is not None
    last = waiting.next(15, 50)
    assert last is not None and [each.number for each in last.rows] == [0]
    assert not waiting and waiting.next(0, 0) is None


def test_slots_are_as_many_as_fit_beside_the_longest_row_in_flight() -> None:
    """1,000 bytes hold ten rows of 100 columns, less the spare ones."""
    waiting = Waiting(waiting_rows([70] * 12 + [20] * 60), RowBudget(64, 1000, 1, 0))
    first = waiting.next(0, 0)
    assert first is not None and {each.row.size for each in first.rows} == {70}
    assert len(first.rows) == 1000 // first.room.columns
    assert waiting.next(len(first.rows), 80) is None
    beside = waiting.next(4, 80)
    assert beside is not None and len(beside.rows) + 4 == 1000 // beside.room.columns
    assert {each.row.size for each in beside.rows} == {70, 20}
    alone = waiting.next(0, 0)
    assert alone is not None and len(alone.rows) > len(beside.rows) + 4
    assert alone.room.rows * alone.room.columns <= 1000
