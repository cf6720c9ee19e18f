"""What every engine promises, asked of each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from solon.config.model_spec import ModelSpec
from solon.config.recipe import EngineSettings, RenderingKind, SamplingParams, ServerSettings
from solon.conversation import Prompt
from solon.engines.base import Choosing, Continuation, Engine, Finish
from solon.engines.local.engine import LocalEngine
from solon.engines.registry import open_engine
from solon.engines.scripted import ScriptedEngine
from solon.engines.served.served_engine import ServedEngine
from solon.errors import EngineError
from tests.engines.served.llama_server import llama_python, llama_server
from tests.engines.served.openai_stand_in import StandIn
from tests.engines.served.tiny_gguf import write_gguf
from tests.engines.tiny import byte_tokenizer, chat_tokenizer, model_of, question, questions
from tests.http.local_server import serving

WORDS = "one two three four five six seven eight"


def scripted() -> Engine:
    def text(prompt: Prompt, seed: int) -> str:
        return " ".join(WORDS.split()[(seed + place) % 8] for place in range(3 + seed % 3))

    return ScriptedEngine(text, lambda prompt, option: -float(len(option)), window=160)


def local(kind: str, template: str | None = None, dtype: torch.dtype = torch.float64) -> Engine:
    tokenizer = chat_tokenizer() if template else byte_tokenizer()
    return LocalEngine(model_of(kind, dtype=dtype), tokenizer, EngineSettings(batch_size=5), name=kind)


def served(stack: ExitStack, rendering: RenderingKind, *, tokenizer: bool = False) -> Engine:
    """The model of "llama" behind a server."""
    chat = rendering is RenderingKind.CHAT
    known = chat_tokenizer() if chat else byte_tokenizer()
    server = stack.enter_context(serving(StandIn(model_of("llama"), known, most_top=420)))
    folder = stack.enter_context(TemporaryDirectory())
    known.save_pretrained(folder)
    model_of("llama").config.save_pretrained(folder)
    settings = EngineSettings(rendering=rendering, server=ServerSettings(tokenizer=folder if tokenizer else None))
    engine = open_engine(ModelSpec.parse(f"openai:tiny@{server.url}"), settings)
    assert isinstance(engine, ServedEngine)
    # A random model's letters are not among its 20 most probable tokens.
    engine.able = replace(engine.able, top=420)
    stack.callback(engine.close)
    return engine


def llama_cpp(stack: ExitStack, rendering: RenderingKind, *, tokenizer: bool = False) -> Engine:
    """The model of "llama" behind a real server."""
    known = chat_tokenizer() if rendering is RenderingKind.CHAT else byte_tokenizer()
    folder = Path(stack.enter_context(TemporaryDirectory()))
    known.save_pretrained(folder)
    model_of("llama").config.save_pretrained(folder)
    write_gguf(model_of("llama"), known, folder / "tiny.gguf")
    url = stack.enter_context(llama_server(folder / "tiny.gguf", "tiny", folder / "log", window=160))
    server = ServerSettings(tokenizer=str(folder) if tokenizer else None)
    engine = open_engine(
        ModelSpec.parse(f"openai:tiny@{url}"), EngineSettings(rendering=rendering, window=160, server=server)
    )
    assert isinstance(engine, ServedEngine)
    engine.able = replace(engine.able, top=420)
    stack.callback(engine.close)
    return engine


ENGINES: dict[str, Callable[[ExitStack], Engine]] = {
    "scripted": lambda stack: scripted(),
    "llama": lambda stack: local("llama"),
    "llama-chat": lambda stack: local("llama", "chat"),
    "qwen2": lambda stack: local("qwen2"),
    "neox": lambda stack: local("neox"),
    "llama-float32": lambda stack: local("llama", dtype=torch.float32),
    "llama-bfloat16": lambda stack: local("llama", dtype=torch.bfloat16),
    "openai-chat": lambda stack: served(stack, RenderingKind.CHAT),
    "openai-transcript": lambda stack: served(stack, RenderingKind.TRANSCRIPT),
    "openai-tokenizer": lambda stack: served(stack, RenderingKind.CHAT, tokenizer=True),
}
REAL_SERVERS: dict[str, Callable[[ExitStack], Engine]] = {
    "llama.cpp-chat": lambda stack: llama_cpp(stack, RenderingKind.CHAT),
    "llama.cpp-transcript": lambda stack: llama_cpp(stack, RenderingKind.TRANSCRIPT),
    "llama.cpp-tokenizer": lambda stack: llama_cpp(stack, RenderingKind.CHAT, tokenizer=True),
}
ENGINES |= {name: opened for name, opened in REAL_SERVERS.items() if llama_python()}


@pytest.fixture(params=list(ENGINES), scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with ExitStack() as stack:
        yield ENGINES[request.param](stack)


def test_has_a_name_a_window_and_a_rendering(engine: Engine) -> None:
    assert engine.name
    assert engine.window == 160
    assert "bake" in "".join(engine.rendering.render(question("How do I bake?")))


def test_answers_every_prompt_in_order_and_by_its_seed(engine: Engine) -> None:
    prompts, seeds = questions(12), list(range(12))
    forward = engine.generate(prompts, seeds, SamplingParams(max_tokens=6))
    backward = engine.generate(prompts[::-1], seeds[::-1], SamplingParams(max_tokens=6))
    assert len(forward) == 12
    assert [c.text for c in forward] == [c.text for c in reversed(backward)]
    assert [c.finish for c in forward] == [c.finish for c in reversed(backward)]
    assert len({c.text for c in forward}) > 3


def test_a_row_alone_says_what_it_says_among_others(engine: Engine) -> None:
    prompts = questions(7)
    together = engine.generate(prompts, range(7), SamplingParams(max_tokens=5))
    single = [engine.generate([prompt], [seed], SamplingParams(max_tokens=5))[0] for seed, prompt in enumerate(prompts)]
    different = sum(one.text != other.text for one, other in zip(together, single, strict=True))
    # The order of sums decides where two tokens are near, and 16 bits bring more of them near.
    assert different <= (2 if engine.dtype == "bfloat16" else 0)


def test_text_is_stripped_and_ids_go_with_logprobs(engine: Engine) -> None:
    for completion in engine.generate(questions(8), range(8), SamplingParams(max_tokens=5)):
        assert completion.text == completion.text.strip()
        assert len(completion.token_ids) <= 5
        if completion.logprobs is not None:
            assert len(completion.logprobs) == len(completion.token_ids)
            assert all(value <= 1e-6 for value in completion.logprobs)


def test_the_token_limit_is_the_finish(engine: Engine) -> None:
    completions = engine.generate(questions(8), range(8), SamplingParams(max_tokens=1))
    assert Finish.LENGTH in {completion.finish for completion in completions}
    assert {completion.finish for completion in completions} <= {Finish.LENGTH, Finish.END}


def test_chooses_in_order_with_one_number_per_option(engine: Engine) -> None:
    prompts = [replace(prompt, opening="(") for prompt in questions(6)]
    forward = engine.choose(prompts, ["A", "B"])
    swapped = engine.choose(prompts[::-1], ["B", "A"])
    assert len(forward) == 6
    for (a, b), (b_again, a_again) in zip(forward, reversed(swapped), strict=True):
        assert a <= 0 and b <= 0
        assert (a, b) == pytest.approx((a_again, b_again), abs=1e-5)


def test_a_prompt_beyond_the_window_is_named(engine: Engine) -> None:
    prompts = [question("short"), question("bread " * 200)]
    size = engine.count_tokens(prompts[1])
    assert size > engine.window
    for ask in (
        lambda: engine.generate(prompts, [0, 1], SamplingParams(max_tokens=4)),
        lambda: engine.choose(prompts, ["A", "B"]),
    ):
        with pytest.raises(EngineError, match=rf"row 1: the prompt has {size} tokens .* window of 160") as caught:
            ask()
        assert "prompts.too_long=drop" in caught.value.remedy


def test_the_window_limits_what_is_written(engine: Engine) -> None:
    prompt = question("a " * 200)
    words = 200
    while engine.count_tokens(prompt) > engine.window - 2:
        words -= 1
        prompt = question("a " * words)
    left = engine.window - engine.count_tokens(prompt)
    for completion in engine.generate([prompt] * 4, range(4), SamplingParams(max_tokens=50)):
        # The scripted engine has words for tokens; a model's tokens need not hold a word each.
        assert (len(completion.token_ids) or len(completion.text.split())) <= left
        assert completion.finish in (Finish.LENGTH, Finish.END)


def test_nothing_asked_nothing_answered(engine: Engine) -> None:
    assert engine.generate([], [], SamplingParams(max_tokens=4)) == []
    assert engine.choose([], ["A", "B"]) == []


def test_seeds_must_match_prompts(engine: Engine) -> None:
    with pytest.raises(ValueError, match="2 prompts need as many seeds"):
        engine.generate(questions(2), [1], SamplingParams(max_tokens=4))


def test_shows_how_options_continue_a_prompt(engine: Engine) -> None:
    found = engine.continuation(replace(questions(1)[0], opening="("), ["A", "B"])
    assert found.clean and found.comparable
    assert [len(tokens) for tokens in found.options] == [1, 1]


@pytest.mark.parametrize(
    ("clean", "options", "comparable"),
    [
        (True, ((1,), (2,)), True),
        (True, ((1, 2), (1, 3)), True),
        (False, ((1,), (2,)), False),
        (True, ((1,), (1,)), False),
        (True, ((1,), (2, 3)), False),
        (True, ((), ()), False),
    ],
)
def test_options_compare_when_they_are_different_and_equally_long(
    clean: bool, options: tuple[tuple[int, ...], ...], comparable: bool
) -> None:
    assert Continuation(clean, options).comparable is comparable


def test_an_engine_of_votes_answers_by_texts_alone() -> None:
    engine = ScriptedEngine(lambda prompt, seed: "(A)", lambda prompt, option: 0.0, choosing=Choosing.VOTES)
    assert engine.generate(questions(1), [1], SamplingParams(max_tokens=4))[0].text == "(A)"
    for ask in (lambda: engine.choose(questions(1), "AB"), lambda: engine.continuation(questions(1)[0], "AB")):
        with pytest.raises(EngineError):
            ask()


@pytest.mark.parametrize(
    ("rendering", "tokenizer"),
    [(RenderingKind.CHAT, False), (RenderingKind.TRANSCRIPT, False), (RenderingKind.TRANSCRIPT, True)],
)
def test_a_model_behind_a_server_answers_like_the_same_model_here(rendering: RenderingKind, tokenizer: bool) -> None:
    here = local("llama", "chat" if rendering is RenderingKind.CHAT else None)
    letters = [replace(each, opening="(") for each in questions(6)]
    with ExitStack() as stack:
        there = served(stack, rendering, tokenizer=tokenizer)
        greedy = SamplingParams(max_tokens=8, temperature=0)
        texts = [[each.text for each in engine.generate(questions(6), range(6), greedy)] for engine in (here, there)]
        assert texts[0] == texts[1]
        for options in (["A", "B"], [" the bread", " the letters"]):
            if options != ["A", "B"] and rendering is RenderingKind.CHAT:
                continue  # a chat gives the most probable tokens alone
            expected, found = here.choose(letters, options), there.choose(letters, options)
            for one, other in zip(expected, found, strict=True):
                assert one == pytest.approx(other, abs=1e-4)
