"""Heads that rows have in common: found where they save tokens, read once, and without an effect on any answer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engines.tiny import byte_tokenizer, model_of, question, with_example

from solon.config.recipe import EngineSettings, SamplingParams
from solon.conversation import Prompt, Role, Turn
from solon.engines.local.causal_model import CausalModel
from solon.engines.local.common_heads import with_common_heads, without_lone_heads
from solon.engines.local.engine import LocalEngine
from solon.engines.local.split_rows import SplitRow
from solon.engines.token_rows import DecodingRow

SAID = "how do I bake a loaf of bread and read my letters at the station in the rain"
REPLIES = ("bake it", "read it", "ask them at the station first")


def pairs(count: int) -> list[Prompt]:
    """Both orders of two replies to each of several questions, each behind a worked example."""
    asked = []
    for number, (one, other) in itertools.product(range(count), itertools.permutations(REPLIES[:2])):
        text = f"{number} {SAID}?\n(A) {one}\n(B) {other}"
        asked.append(with_example(Prompt((Turn(Role.QUESTION, text),), Role.ANSWER, opening="(")))
    return asked


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Padded tokens of every pass of any model."""
    counted: list[int] = []
    forward = CausalModel.forward

    def noted(self: CausalModel, ids: torch.Tensor, *given: Any) -> torch.Tensor:
        counted.append(ids.numel())
        return forward(self, ids, *given)

    monkeypatch.setattr(CausalModel, "forward", noted)
    return counted


def alone(engine: LocalEngine, prompts: Sequence[Prompt], options: Sequence[str]) -> list[tuple[float, ...]]:
    return [engine.choose([prompt], options)[0] for prompt in prompts]


@pytest.mark.parametrize("kind", ["llama", "mistral", "gpt2", "gemma2"])
def test_both_orders_of_a_pair_read_their_question_once(kind: str, read: list[int]) -> None:
    engine, prompts = LocalEngine(model_of(kind), byte_tokenizer()), pairs(4)
    expected = alone(engine, prompts, "AB")
    apart = sum(len(row.own) for row in engine.tokens.rows(prompts))
    read.clear()
    found = engine.choose(prompts, "AB")
    assert found == [pytest.approx(scores, abs=1e-9) for scores in expected]
    assert sum(read) < 0.75 * apart


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_options_of_several_tokens_read_their_question_once(kind: str, read: list[int]) -> None:
    engine, prompts = LocalEngine(model_of(kind), byte_tokenizer()), pairs(1)[:1]
    options = ("the first", "no", "it is the second one")
    engine.choose(prompts, options)
    (row,) = engine.tokens.rows(prompts)
    read.clear()
    (scores,) = engine.choose(prompts, options)
    assert sum(read) < 1.6 * len(row.own), "not three times"
    one_by_one = [engine.choose(prompts, (option, "another option altogether"))[0][0] for option in options]
    assert scores == pytest.approx(one_by_one, abs=1e-6)


@pytest.mark.parametrize("kind", ["llama", "neox", "mistral"])
def test_texts_after_a_common_head_are_those_of_rows_alone(kind: str, read: list[int]) -> None:
    prompts = [question(f"{SAID}: {reply}?") for reply in REPLIES for _ in range(2)] + [question("how?")]
    sampling = SamplingParams(max_tokens=10)
    single = LocalEngine(model_of(kind), byte_tokenizer(), EngineSettings(batch_size=1))
    expected = [single.generate([prompt], [seed], sampling)[0] for seed, prompt in enumerate(prompts)]
    for batch in (2, 7):
        engine = LocalEngine(model_of(kind), byte_tokenizer(), EngineSettings(batch_size=batch))
        read.clear()
        found = engine.generate(prompts, range(7), sampling)
        assert [each.token_ids for each in found] == [each.token_ids for each in expected]
    assert max(read) < 3 * engine.count_tokens(prompts[0]), "no pass reads all questions whole"


def test_groups_are_those_that_save_most() -> None:
    opening, story = tuple(range(20)), tuple(range(100, 160))
    owns = [(*opening, *story, 1), (*opening, *story, 2, 3), (*opening, 5), (*opening, 6, 7), (9,)]
    heads = [len(row.head) for row in with_common_heads([DecodingRow((), own) for own in owns], [1] * 5)]
    assert heads == [80, 80, 20, 20, 0]
    kept = [len(row.head) for row in with_common_heads([DecodingRow((), own) for own in owns], [11, 1, 1, 1, 1])]
    assert kept == [70, 70, 20, 20, 0]


def test_a_head_that_is_alone_is_not_read_apart() -> None:
    one, other = SplitRow((), (1, 2), (3,)), SplitRow((), (1, 2), (4, 5))
    assert without_lone_heads([one, one]) == [SplitRow((), (), (1, 2, 3))] * 2
    assert without_lone_heads([one, other]) == [one, other]


def test_rows_that_have_little_in_common_are_not_cut() -> None:
    rows = [DecodingRow((), (*range(16), *[number] * 200)) for number in range(9)]
    assert {row.head for row in with_common_heads(rows, [1] * 9)} == {()}


ROWS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 40), st.lists(st.integers(0, 1), min_size=1, max_size=30)), max_size=12
)


@settings(max_examples=80, deadline=None)
@given(ROWS)
def test_any_rows_stay_the_same_tokens(made: list[tuple[int, int, list[int]]]) -> None:
    rows = [DecodingRow((7,) * prefix, (*[8] * common, *tail)) for prefix, common, tail in made]
    for row, cut in zip(rows, with_common_heads(rows, [1] * len(rows)), strict=True):
        assert (cut.prefix, cut.head + cut.tail) == (row.prefix, row.own)
        assert cut.tail and (not cut.head or len(cut.head) >= 16)
    assert with_common_heads(rows[::-1], [1] * len(rows)) == with_common_heads(rows, [1] * len(rows))[::-1]
