"""What is dropped is freed at once, not at Python's next collection: a GPU would run out of memory before that."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import torch
from tests.engines.tiny import byte_tokenizer, model_of, questions, with_example

from solon.config.recipe import EngineSettings, SamplingParams
from solon.engines.local.engine import LocalEngine
from solon.engines.local.kv_cache import KeyValueCache


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No collection of circles for the length of a test."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_keys_and_values_are_freed_with_their_batch(uncollected: None, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[KeyValueCache]] = []
    begin = KeyValueCache.__init__

    def noted(self: KeyValueCache, *given: object, **named: object) -> None:
        begin(self, *given, **named)  # type: ignore[arg-type]
        made.append(weakref.ref(self))

    monkeypatch.setattr(KeyValueCache, "__init__", noted)
    engine = LocalEngine(model_of("llama", dtype=torch.float32), byte_tokenizer(), EngineSettings(batch_size=3))
    prompts = [*questions(5), *map(with_example, questions(4))]
    engine.generate(prompts, range(9), SamplingParams(max_tokens=6))
    engine.choose(prompts, ["A", "B"])
    assert len(made) >= 4 and all(cache() is None for cache in made)


def test_a_dropped_engine_frees_its_model(uncollected: None) -> None:
    engine = LocalEngine(model_of("llama", dtype=torch.float32), byte_tokenizer())
    engine.generate(questions(3), range(3), SamplingParams(max_tokens=4), ("yes",))
    weight = weakref.ref(next(engine.model.parameters()))
    del engine
    assert weight() is None
