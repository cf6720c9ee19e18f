"""A question is tokenized once, however often it is counted and asked, and memory has a bound."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest

from solon.config.recipe import SamplingParams
from solon.engines.cached import CachedEngine
from solon.engines.encoded_texts import EncodedTexts
from solon.engines.local.engine import LocalEngine
from solon.engines.token_rows import Tokens
from solon.engines.tokens import PromptTokenizer
from solon.feedback.ask import ask, fits_window
from solon.runs.response_cache import response_cache_in
from tests.engines.tiny import byte_tokenizer, model_of, questions, with_example


@pytest.fixture
def tokenized(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that any tokenizer reads."""
    read: list[str] = []
    encode = PromptTokenizer.encode_whole

    def noted(self: PromptTokenizer, texts: Sequence[str]) -> list[Tokens]:
        read.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(PromptTokenizer, "encode_whole", noted)
    return read


def test_a_question_is_tokenized_once_and_once_with_every_option(tokenized: list[str], tmp_path: Path) -> None:
    inner = LocalEngine(model_of("llama"), byte_tokenizer())
    with response_cache_in(tmp_path) as answers:
        engine = CachedEngine(inner, "m", "stage", answers)
        prompts = [with_example(prompt) for prompt in questions(4)]
        tokenized.clear()
        assert all(fits_window(engine, prompt, 1) for prompt in prompts)
        engine.choose(prompts, "AB")
        assert len(tokenized) == len(set(tokenized)) == 4 * 3 + 1, "each question, with A, with B; and the prefix"
        tokenized.clear()
        ask(engine, prompts, range(4), SamplingParams(max_tokens=2))
        assert tokenized == []


def test_known_texts_give_the_tokens_that_were_found_first() -> None:
    asked: list[str] = []

    def encode(texts: Sequence[str]) -> list[Tokens]:
        asked.extend(texts)
        return [tuple(map(ord, text)) for text in texts]

    texts = EncodedTexts(most=10)
    assert texts.of(["ab", "c", "ab"], encode) == [(97, 98), (99,), (97, 98)]
    assert asked == ["ab", "c"]
    assert texts.of(["c", "defg"], encode) == [(99,), (100, 101, 102, 103)]
    assert texts.of(["hijkl"], encode) == [tuple(map(ord, "hijkl"))], "the oldest, `ab`, is dropped for it"
    asked.clear()
    texts.of(["c", "defg", "hijkl"], encode)
    assert asked == []
    texts.of(["ab"], encode)
    assert asked == ["ab"]
    assert texts.of(["x" * 20], encode) == [(120,) * 20], "one that is too long is not kept"
    assert not texts._kept and texts._size == 0


def test_a_pickled_tokenizer_carries_no_texts() -> None:
    tokens = LocalEngine(model_of("llama"), byte_tokenizer()).tokens
    tokens.encode(["how?"])
    again = pickle.loads(pickle.dumps(tokens))
    assert again.encode(["how?"]) == tokens.encode(["how?"])
    assert len(pickle.dumps(tokens)) == len(pickle.dumps(PromptTokenizer(tokens.tokenizer, tokens.rendering)))
