"""The decoding loop against the model's own forward pass."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.engines.tiny import (
    WINDOW,
    byte_tokenizer,
    chat_tokenizer,
    full_logprobs,
    model_of,
    questions,
    with_example,
)

from solon.config.recipe import EngineSettings, SamplingParams
from solon.conversation import Prompt
from solon.engines.base import Finish
from solon.engines.local.engine import LocalEngine
from solon.engines.local.generation import Ending

KINDS = ["llama", "qwen2", "neox", "gpt2", "mistral", "gemma2"]


def engine_of(kind: str = "llama", batch: int = 6) -> LocalEngine:
    return LocalEngine(model_of(kind), byte_tokenizer(), EngineSettings(batch_size=batch))


def prompt_ids(engine: LocalEngine, prompt: Prompt) -> list[int]:
    (row,) = engine.tokens.rows([prompt])
    return [*row.prefix, *row.own]


@pytest.mark.parametrize("kind", KINDS)
def test_cached_and_padded_decoding_equals_the_full_forward(kind: str) -> None:
    """Greedy tokens and their log-probabilities; sliding layers forget what is further back than their window."""
    engine = engine_of(kind)
    prompts = [*questions(5), *map(with_example, questions(4))]
    for prompt, completion in zip(
        prompts, engine.generate(prompts, [0] * 9, SamplingParams(max_tokens=12, temperature=0)), strict=True
    ):
        ids = prompt_ids(engine, prompt)
        logprobs = full_logprobs(engine.model, ids + list(completion.token_ids))
        own = logprobs[len(ids) - 1 : -1]
        assert own.argmax(-1).tolist() == list(completion.token_ids)
        assert completion.logprobs == pytest.approx(own.max(-1).values.tolist(), abs=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_sampled_logprobs_are_those_under_the_temperature(kind: str) -> None:
    engine = engine_of(kind)
    prompts = questions(5)
    for prompt, completion in zip(
        prompts, engine.generate(prompts, range(5), SamplingParams(max_tokens=8, temperature=0.7)), strict=True
    ):
        ids = prompt_ids(engine, prompt)
        scaled = (full_logprobs(engine.model, ids + list(completion.token_ids)) / 0.7).log_softmax(-1)
        expected = [float(scaled[len(ids) - 1 + place, token]) for place, token in enumerate(completion.token_ids)]
        assert completion.logprobs == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_do_not_depend_on_who_shares_the_batch(kind: str) -> None:
    prompts = questions(11)
    seeds = [seed * 7 for seed in range(11)]
    reference = [c.token_ids for c in engine_of(kind, batch=1).generate(prompts, seeds, SamplingParams(max_tokens=10))]
    order = [3, 9, 0, 7, 1, 10, 4, 2, 8, 6, 5]
    for batch in (4, 128):
        mixed = engine_of(kind, batch).generate(
            [prompts[n] for n in order], [seeds[n] for n in order], SamplingParams(max_tokens=10)
        )
        assert [completion.token_ids for completion in mixed] == [reference[number] for number in order]


@pytest.mark.parametrize("kind", KINDS)
def test_a_shared_prefix_changes_no_text(kind: str) -> None:
    shared = [with_example(prompt) for prompt in questions(7)]
    mixed = [*shared, *questions(3)]
    apart = [replace(prompt, shared=0) for prompt in mixed]
    engine = engine_of(kind)
    together = engine.generate(mixed, range(10), SamplingParams(max_tokens=8))
    assert engine.tokens.rows(shared)[0].prefix
    assert engine._prefixes.computed == 1
    assert [c.token_ids for c in together] == [
        c.token_ids for c in engine_of(kind).generate(apart, range(10), SamplingParams(max_tokens=8))
    ]
    engine.generate(shared, range(7), SamplingParams(max_tokens=2))
    assert engine._prefixes.computed == 1


def test_samples_of_one_prompt_are_prefilled_once_and_differ() -> None:
    engine = engine_of(batch=32)
    prompts = [prompt for prompt in questions(3) for _ in range(4)]
    read: list[int] = []
    forward = engine._forward.forward

    def counted(ids: torch.Tensor, *rest: object) -> torch.Tensor:
        read.append(ids.shape[0] * ids.shape[1])
        return forward(ids, *rest)

    engine._forward.forward = counted  # type: ignore[method-assign]
    many = engine.generate(prompts, range(12), SamplingParams(max_tokens=6))
    longest = max(engine.count_tokens(prompt) for prompt in prompts)
    assert read[0] == 3 * longest
    assert read[1] == 12
    assert len({c.token_ids for c in many}) == 12
    single = [
        engine_of().generate([prompt], [seed], SamplingParams(max_tokens=6))[0] for seed, prompt in enumerate(prompts)
    ]
    assert [c.token_ids for c in many] == [c.token_ids for c in single]


def test_finished_rows_leave_the_batch() -> None:
    model = model_of("llama")
    engine = LocalEngine(model, byte_tokenizer(), EngineSettings(batch_size=64))
    plain = engine.generate(questions(40), range(40), SamplingParams(max_tokens=30, temperature=1.5))
    # Any token can serve as the end; these make rows end at many different steps.
    engine.end_tokens = frozenset(range(0, 400, 9))
    sizes: list[int] = []
    forward = engine._forward.forward

    def counted(ids: torch.Tensor, *rest: object) -> torch.Tensor:
        sizes.append(ids.shape[0])
        return forward(ids, *rest)

    engine._forward.forward = counted  # type: ignore[method-assign]
    ended = engine.generate(questions(40), range(40), SamplingParams(max_tokens=30, temperature=1.5))
    assert 40 in sizes and sizes[-1] < 20
    for whole, cut in zip(plain, ended, strict=True):
        assert cut.token_ids == whole.token_ids[: len(cut.token_ids)]
        if cut.finish is Finish.END:
            assert cut.token_ids[-1] % 9 == 0
            assert not any(token % 9 == 0 for token in cut.token_ids[:-1])
        else:
            assert len(cut.token_ids) == 30
    assert {c.finish for c in ended} >= {Finish.END}


def test_a_row_near_the_window_ends_there_while_others_go_on() -> None:
    engine = engine_of("gpt2")  # A table of positions: one step too many would fail.
    engine.end_tokens = frozenset()
    long = questions(1)[0]
    while engine.count_tokens(long) < WINDOW - 5:
        long = replace(long, turns=(replace(long.turns[0], content=long.turns[0].content + " a"),))
    left = WINDOW - engine.count_tokens(long)
    out = engine.generate([long, *questions(4)], range(5), SamplingParams(max_tokens=30))
    assert [len(c.token_ids) for c in out] == [left, 30, 30, 30, 30]
    assert {c.finish for c in out} == {Finish.LENGTH}


def spelled(text: str, size: int = 1) -> list[int]:
    """Tokens of `text`, `size` characters each, so that every stop string straddles tokens."""
    tokenizer = byte_tokenizer()
    return [
        token
        for place in range(0, len(text), size)
        for token in tokenizer(text[place : place + size], add_special_tokens=False)["input_ids"]
    ]


def ending_of(*stops: str) -> Ending:
    engine = engine_of()
    return Ending(engine.tokens.decode, {0}, stops, lambda: engine._token_texts)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_stop_string_that_straddles_tokens_is_cut(size: int) -> None:
    ending = ending_of("\n\nHuman:", "\n\nCritique:")
    tokens = spelled(" Fine: yes.\n\nHuman: more", size)
    length = next(n for n in range(1, len(tokens) + 1) if ending.finish_of(tokens[:n]))
    assert ending.may_end(torch.tensor(tokens[:length]).numpy())[-1]
    completion = ending.completion(tokens[:length], [-1.0] * length, Finish.STOP)
    assert completion.text == "Fine: yes."
    kept = byte_tokenizer().decode(list(completion.token_ids))
    assert kept.startswith(" Fine: yes.")
    assert len(kept) < len(" Fine: yes.") + size
    assert len(completion.logprobs or ()) == len(completion.token_ids)


def test_a_stop_string_of_other_letters_is_seen_too() -> None:
    ending = ending_of("€", "naïv ")
    for text in ("10 €", "so naïv "):
        tokens = spelled(text)
        assert ending.may_end(torch.tensor(tokens).numpy())[-1]
        assert ending.finish_of(tokens) is Finish.STOP
        assert ending.finish_of(tokens[:-1]) is None


def test_the_earliest_of_several_stops_wins() -> None:
    completion = ending_of("two", "one").completion(spelled("zero one two"), [0.0] * 12, Finish.STOP)
    assert completion.text == "zero"


def test_generation_meets_stop_strings_in_what_it_writes() -> None:
    engine = engine_of()
    free = engine.generate(questions(20), range(20), SamplingParams(max_tokens=20))
    stop = free[0].text[4:6]
    stopped = engine.generate(questions(20), range(20), SamplingParams(max_tokens=20), (stop,))
    assert stopped[0].finish is Finish.STOP
    for before, after in zip(free, stopped, strict=True):
        assert stop not in after.text
        raw = engine.tokens.decode(before.token_ids)
        assert (after.finish is Finish.STOP) == (stop in raw)
        if after.finish is not Finish.STOP:
            assert after == before
        else:
            assert after.text == raw[: raw.index(stop)].strip()


def test_a_turn_token_of_the_chat_template_ends_a_reply() -> None:
    tokenizer = chat_tokenizer()
    engine = LocalEngine(model_of("llama"), tokenizer, EngineSettings())
    turn_end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert engine.end_tokens == {0, turn_end, tokenizer.convert_tokens_to_ids("<|im_start|>")}
    ending = Ending(engine.tokens.decode, engine.end_tokens, engine.rendering.stops(), lambda: engine._token_texts)
    ids = tokenizer("Fine.", add_special_tokens=False)["input_ids"] + [turn_end]
    assert ending.finish_of(ids) is Finish.END
    assert ending.completion(ids, [0.0] * len(ids), Finish.END).text == "Fine."
