"""Options against the log-softmax computed by hand, and letters that hide in merged tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.engines.tiny import (
    byte_tokenizer,
    full_logprobs,
    metaspace_tokenizer,
    model_of,
    questions,
    with_example,
)

from solon.config.recipe import EngineSettings
from solon.conversation import Prompt, Role, Turn
from solon.engines.local.choose import choice_of
from solon.engines.local.engine import LocalEngine
from solon.errors import ModelError


def lettered(count: int) -> list[Prompt]:
    asked = [Prompt((Turn(Role.QUESTION, p.turns[0].content),), Role.ANSWER, opening="(") for p in questions(count)]
    return [with_example(prompt) if number % 2 else prompt for number, prompt in enumerate(asked)]


def by_hand(engine: LocalEngine, prompt: Prompt, option: str) -> float:
    """Sum of the log-probabilities of what the option adds, one full forward pass."""
    text = "".join(engine.rendering.render(prompt))
    bare, whole = (list(ids) for ids in engine.tokens.encode([text, text + option]))
    assert whole[: len(bare)] == bare
    logprobs = full_logprobs(engine.model, whole)
    return sum(float(logprobs[place - 1, whole[place]]) for place in range(len(bare), len(whole)))


@pytest.mark.parametrize("kind", ["llama", "qwen2", "neox", "gemma2"])
@pytest.mark.parametrize("options", [("A", "B"), ("the first", "no", "it is the second one")])
def test_options_have_the_log_softmax_of_their_tokens(kind: str, options: tuple[str, ...]) -> None:
    engine = LocalEngine(model_of(kind), byte_tokenizer(), EngineSettings(batch_size=4))
    prompts = lettered(9)
    for prompt, scores in zip(prompts, engine.choose(prompts, options), strict=True):
        assert scores == pytest.approx([by_hand(engine, prompt, option) for option in options], abs=1e-5)


def test_swapped_options_swap_the_numbers() -> None:
    engine = LocalEngine(model_of("llama"), byte_tokenizer())
    forward, backward = engine.choose(lettered(3), ["A", "B"]), engine.choose(lettered(3), ["B", "A"])
    assert [pytest.approx(pair[::-1], abs=1e-6) for pair in backward] == forward


def test_a_shared_prefix_changes_no_number() -> None:
    engine = LocalEngine(model_of("llama"), byte_tokenizer(), EngineSettings(batch_size=3))
    prompts = [with_example(prompt) for prompt in questions(8)]
    for options in (["A", "B"], ["yes", "not at all"]):
        apart = engine.choose([replace(prompt, shared=0) for prompt in prompts], options)
        before = engine._prefixes.computed
        assert [pytest.approx(row, abs=1e-5) for row in apart] == engine.choose(prompts, options)
        assert before <= engine._prefixes.computed <= 1
    assert engine._prefixes.computed == 1


def test_letters_that_merge_with_the_bracket_are_compared_as_wholes() -> None:
    tokenizer = metaspace_tokenizer()
    text = "The answer is: ("
    bare, *letters = (tokenizer(text + letter, add_special_tokens=False)["input_ids"] for letter in ("", "A", "B"))
    assert letters[0][: len(bare)] != bare, "the test needs a tokenizer that merges"
    engine = LocalEngine(model_of("llama", 640), tokenizer)
    prompt = lettered(1)[0]
    (scores,) = engine.choose([prompt], ["A", "B"])
    rendered = "".join(engine.rendering.render(prompt))
    bare, *wholes = engine.tokens.encode([rendered, rendered + "A", rendered + "B"])
    start = min(next(n for n in range(len(bare)) if ids[n] != bare[n]) for ids in wholes if ids[: len(bare)] != bare)
    for ids, score in zip(wholes, scores, strict=True):
        logprobs = full_logprobs(engine.model, list(ids))
        assert score == pytest.approx(
            sum(float(logprobs[place - 1, ids[place]]) for place in range(start, len(ids))), abs=1e-5
        )
    assert scores[0] != scores[1]


def test_choices_are_cut_where_the_first_option_departs() -> None:
    choice = choice_of((1, 2, 3), [(1, 2, 3, 7), (1, 2, 3, 8)], ["A", "B"])
    assert (choice.context, choice.options, choice.single) == ((1, 2, 3), ((7,), (8,)), True)
    merged = choice_of((1, 2, 3), [(1, 2, 9), (1, 2, 3, 8)], ["A", "B"])
    assert (merged.context, merged.options, merged.single) == ((1, 2), ((9,), (3, 8)), False)


@pytest.mark.parametrize(
    ("bare", "continued"), [((1, 2), [(1, 2, 0), (1, 2, 0)]), ((1, 2), [(1, 2), (1, 2, 5)]), ((), [(4,), (5,)])]
)
def test_options_with_the_same_tokens_are_refused(bare: tuple[int, ...], continued: list[tuple[int, ...]]) -> None:
    with pytest.raises(ModelError) as caught:
        choice_of(bare, continued, ["A", "B"])
    assert caught.value.remedy
