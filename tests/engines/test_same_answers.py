"""One model behind every kind of engine: the same greedy texts, letters within a tolerance, the same outcomes.

The reference is the local engine in float32. A real llama.cpp server joins where `SOLON_LLAMA_PYTHON` names an
environment with llama-cpp-python (`make test-servers`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from solon.config.model_spec import ModelSpec
from solon.config.recipe import EngineSettings, RenderingKind, SamplingParams, ServerSettings
from solon.engines.base import Completion, Engine, Finish
from solon.engines.cached import CachedEngine
from solon.engines.local.engine import LocalEngine
from solon.engines.registry import open_engine
from solon.engines.scripted import ScriptedEngine
from solon.engines.served.served_engine import ServedEngine
from solon.errors import EngineError
from solon.runs.response_cache import response_cache_in
from tests.engines.served.llama_server import free_port, llama_python, llama_server
from tests.engines.served.openai_stand_in import StandIn
from tests.engines.served.tiny_gguf import write_gguf
from tests.engines.tiny import WINDOW, byte_tokenizer, chat_tokenizer, full_logprobs, model_of, question, questions
from tests.http.local_server import Answer, Received, serving

GREEDY = SamplingParams(max_tokens=8, temperature=0)
WHOLE_VOCABULARY = 420
"""A random model's letters are not among its 20 most probable tokens."""
needs_llama = pytest.mark.skipif(llama_python() is None, reason="SOLON_LLAMA_PYTHON names no python")


@dataclass(frozen=True)
class Kind:
    """A kind of engine, and how far its log-probabilities may be from those in float32."""

    open: Callable[[ExitStack, Any, RenderingKind], Engine]
    tolerance: float


def tokenizer_of(rendering: RenderingKind) -> Any:
    return chat_tokenizer() if rendering is RenderingKind.CHAT else byte_tokenizer()


def reference(model: Any, rendering: RenderingKind) -> Engine:
    return local(torch.float32)(ExitStack(), model, rendering)


def local(dtype: torch.dtype) -> Callable[[ExitStack, Any, RenderingKind], Engine]:
    def opened(stack: ExitStack, model: Any, rendering: RenderingKind) -> Engine:
        of_dtype = copy.deepcopy(model).to(dtype)
        return LocalEngine(of_dtype, tokenizer_of(rendering), EngineSettings(batch_size=5), name=str(dtype))

    return opened


def at(url: str, rendering: RenderingKind, window: int = WINDOW) -> ServedEngine:
    settings = EngineSettings(rendering=rendering, window=window, server=ServerSettings(retries=1))
    engine = open_engine(ModelSpec.parse(f"openai:tiny@{url}"), settings)
    assert isinstance(engine, ServedEngine)
    engine.able = replace(engine.able, top=WHOLE_VOCABULARY)
    return engine


def stand_in(stack: ExitStack, model: Any, rendering: RenderingKind, window: int = WINDOW) -> Engine:
    answers = StandIn(model, tokenizer_of(rendering), most_top=WHOLE_VOCABULARY)
    if window != WINDOW:  # the engine believes that it is longer
        answers = replace(answers, says=window)
    engine = at(stack.enter_context(serving(answers)).url, rendering, window)
    stack.callback(engine.close)
    return engine


def gguf_of(stack: ExitStack, model: Any, rendering: RenderingKind) -> Path:
    path = Path(stack.enter_context(TemporaryDirectory())) / "tiny.gguf"
    write_gguf(model, tokenizer_of(rendering), path)
    return path


def llama_cpp(stack: ExitStack, model: Any, rendering: RenderingKind, window: int = WINDOW) -> Engine:
    path = gguf_of(stack, model, rendering)
    server = llama_server(path, "tiny", path.with_name("log"), window=WINDOW)
    engine = at(stack.enter_context(server), rendering, window)
    stack.callback(engine.close)
    return engine


def model_for(kind: str) -> Any:
    """The model that a kind of engine is tried with: vLLM has no attention for heads of 8 numbers on CPUs."""
    return model_of("llama-of-wide-heads" if kind == "vllm" else "llama")


def in_vllm(stack: ExitStack, model: Any, rendering: RenderingKind) -> Engine:
    folder = Path(stack.enter_context(TemporaryDirectory())) / "model"
    copy.deepcopy(model).float().save_pretrained(folder)
    tokenizer_of(rendering).save_pretrained(folder)
    settings = EngineSettings(rendering=rendering, window=WINDOW, memory_gib=0.25, batch_size=8)
    return open_engine(ModelSpec.parse(f"vllm:{folder}"), settings)


KINDS = {
    "float64": Kind(local(torch.float64), 1e-4),
    "bfloat16": Kind(local(torch.bfloat16), 0.05),
    "openai": Kind(stand_in, 1e-4),
    "llama.cpp": Kind(llama_cpp, 1e-4),
    "vllm": Kind(in_vllm, 1e-3),
}
NEEDS = {
    "llama.cpp": needs_llama,
    "vllm": pytest.mark.skipif(find_spec("vllm") is None, reason="the package vllm is not installed"),
}
every_kind = pytest.mark.parametrize(
    "kind", [pytest.param(name, marks=[NEEDS[name]] if name in NEEDS else []) for name in KINDS]
)
every_rendering = pytest.mark.parametrize("rendering", [RenderingKind.CHAT, RenderingKind.TRANSCRIPT])
SERVED = pytest.mark.parametrize("served", [stand_in, pytest.param(llama_cpp, marks=needs_llama)])


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def plain(text: str) -> str:
    """Without bytes that are no text: transformers shows them, llama.cpp leaves them out."""
    return text.replace("\ufffd", "").strip()


def sure(model: Any, engine: Engine, prompt: Any, written: Completion, tolerance: float) -> int:
    """After how many tokens two of the most probable next ones are so near that rounding may decide."""
    assert isinstance(engine, LocalEngine)
    ids = list(engine.tokens.encode(["".join(engine.rendering.render(prompt))])[0])
    logprobs = full_logprobs(model.float(), [*ids, *written.token_ids])
    best = logprobs[len(ids) - 1 : len(ids) - 1 + len(written.token_ids)].topk(2).values
    near = (best[:, 0] - best[:, 1] <= 2 * tolerance).nonzero().flatten().tolist()
    return int(near[0]) if near else len(written.token_ids)


@every_kind
@every_rendering
def test_greedy_texts_are_the_same(kind: str, rendering: RenderingKind, stack: ExitStack) -> None:
    model, asked = model_for(kind), questions(8)
    here, there = reference(model, rendering), KINDS[kind].open(stack, model, rendering)
    expected = here.generate(asked, range(8), GREEDY)
    found = there.generate(asked, range(8), GREEDY)
    compared = 0
    for prompt, one, other in zip(asked, expected, found, strict=True):
        count = sure(copy.deepcopy(model), here, prompt, one, KINDS[kind].tolerance)
        compared += count
        if count == len(one.token_ids):
            assert (plain(other.text), other.finish) == (plain(one.text), one.finish)
        else:
            start = tokenizer_of(rendering).decode(one.token_ids[:count])
            assert plain(other.text).startswith(plain(start))
    assert compared >= (30 if kind == "bfloat16" else 60), "of 64 tokens"


@every_kind
@every_rendering
def test_letters_have_the_same_probabilities(kind: str, rendering: RenderingKind, stack: ExitStack) -> None:
    model = model_for(kind)
    # A chat without the model's tokenizer begins a reply with the letter itself.
    asked = [replace(each, opening="(" if rendering is RenderingKind.TRANSCRIPT else "") for each in questions(8)]
    here, there = reference(model, rendering), KINDS[kind].open(stack, model, rendering)
    for one, other in zip(here.choose(asked, "AB"), there.choose(asked, "AB"), strict=True):
        assert other == pytest.approx(one, abs=KINDS[kind].tolerance)


@every_kind
def test_options_of_several_tokens_have_the_same_probabilities(kind: str, stack: ExitStack) -> None:
    model, options = model_for(kind), [" the bread", " the letters"]
    here = reference(model, RenderingKind.TRANSCRIPT)
    there = KINDS[kind].open(stack, model, RenderingKind.TRANSCRIPT)
    for one, other in zip(here.choose(questions(5), options), there.choose(questions(5), options), strict=True):
        assert other == pytest.approx(one, abs=4 * KINDS[kind].tolerance)


def ends_at_once(kind: str, rendering: RenderingKind) -> Any:
    """A model whose most probable next token after the first of `questions` is the end token."""
    model = copy.deepcopy(model_for(kind))
    engine = reference(model, rendering)
    assert isinstance(engine, LocalEngine)
    ids = engine.tokens.encode(["".join(engine.rendering.render(questions(1)[0]))])
    with torch.no_grad():
        hidden = model.model(input_ids=torch.tensor([list(ids[0])])).last_hidden_state[0, -1]
        model.lm_head.weight[0] = hidden * 50
    return model


@every_kind
@every_rendering
def test_a_model_that_says_nothing_has_an_empty_text_with_an_end(
    kind: str, rendering: RenderingKind, stack: ExitStack
) -> None:
    there = KINDS[kind].open(stack, ends_at_once(kind, rendering), rendering)
    (found,) = there.generate(questions(1), [1], GREEDY)
    assert (found.text, found.finish) == ("", Finish.END)
    (scripted,) = ScriptedEngine(lambda prompt, seed: "").generate(questions(1), [1], GREEDY)
    assert (scripted.text, scripted.finish) == (found.text, found.finish)


@every_kind
@every_rendering
def test_a_stop_string_and_the_token_limit_cut_at_the_same_place(
    kind: str, rendering: RenderingKind, stack: ExitStack
) -> None:
    model, (prompt,) = model_for(kind), questions(5)[4:]
    here, there = reference(model, rendering), KINDS[kind].open(stack, model, rendering)
    (whole,) = here.generate([prompt], [1], GREEDY)
    place = next(n for n in range(1, len(whole.text)) if whole.text.index(whole.text[n : n + 2]) == n)
    stop = whole.text[place : place + 2]
    for engine in (here, there, ScriptedEngine(lambda prompt, seed: whole.text)):
        (found,) = engine.generate([prompt], [1], GREEDY, [stop])
        assert found.text == whole.text[:place].strip() != ""
        # The wire format has one reason for both; vLLM adds which stop string it was.
        assert found.finish is Finish.STOP or (isinstance(engine, ServedEngine) and found.finish is Finish.END)
        short = engine.generate([prompt], [1], GREEDY.model_copy(update={"max_tokens": 1}))[0]
        assert short.finish is Finish.LENGTH or isinstance(engine, ScriptedEngine)


@SERVED
def test_a_prompt_that_only_the_server_finds_too_long_is_cut_off(served: Any, stack: ExitStack) -> None:
    engine = served(stack, model_of("llama"), RenderingKind.TRANSCRIPT, 10 * WINDOW)
    long, short = question("bread " * 150), question("bread")
    assert WINDOW < engine.count_tokens(long) < engine.window
    found = engine.generate([long, short], [1, 2], GREEDY)
    assert (found[0].text, found[0].finish) == ("", Finish.LENGTH)
    assert found[1].text and found[1].finish is not Finish.ERROR


def test_a_request_that_fails_is_a_row_without_text(stack: ExitStack) -> None:
    answers = StandIn(model_of("llama"), byte_tokenizer(), most_top=WHOLE_VOCABULARY)

    async def failing(received: Received) -> Answer:
        if received.path == "/v1/completions" and "station" in str(received.body.get("prompt")):
            return 500, {"error": "broken"}
        return await answers(received)

    engine = at(stack.enter_context(serving(failing)).url, RenderingKind.TRANSCRIPT)
    stack.callback(engine.close)
    asked = [question("bread"), question("the station"), question("rain")]
    found = engine.generate(asked, range(3), GREEDY)
    scripted = ScriptedEngine(lambda prompt, seed: Completion("", Finish.ERROR) if seed == 1 else "text")
    assert found[1] == scripted.generate(asked, range(3), GREEDY)[1] == Completion("", Finish.ERROR)
    assert found[0].text and found[2].text


@NEEDS["vllm"]
def test_an_adapter_in_vllm_answers_like_the_merged_model(stack: ExitStack, tmp_path: Path) -> None:
    model = copy.deepcopy(model_for("vllm")).float()
    model.save_pretrained(tmp_path / "base")
    byte_tokenizer().save_pretrained(tmp_path / "base")
    torch.manual_seed(3)
    parts = {}
    for number, layer in enumerate(model.model.layers):
        weight = layer.self_attn.q_proj.weight
        down, up = torch.randn(4, weight.shape[1]) / 2, torch.randn(weight.shape[0], 4) / 2
        name = f"base_model.model.model.layers.{number}.self_attn.q_proj"
        parts |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
        weight.data += 2 * up @ down
    (tmp_path / "adapter").mkdir()
    save_file(parts, tmp_path / "adapter" / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none"}
    config |= {"base_model_name_or_path": str(tmp_path / "base"), "task_type": "CAUSAL_LM"}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    settings = EngineSettings(window=WINDOW, memory_gib=0.25, batch_size=8)
    there = open_engine(ModelSpec.parse(f"vllm:{tmp_path / 'adapter'}"), settings)
    asked = [replace(each, opening="(") for each in questions(4)]
    merged, base = reference(model, RenderingKind.TRANSCRIPT), model_for("vllm")
    for one, other in zip(merged.choose(asked, "AB"), there.choose(asked, "AB"), strict=True):
        assert other == pytest.approx(one, abs=1e-2)
    without = reference(base, RenderingKind.TRANSCRIPT).choose(asked, "AB")[0]
    assert without != pytest.approx(merged.choose(asked, "AB")[0], abs=5e-2)


@needs_llama
def test_a_server_that_is_killed_costs_no_row(stack: ExitStack, tmp_path: Path) -> None:
    model, asked = model_of("llama"), questions(12)
    path, port = gguf_of(stack, model, RenderingKind.TRANSCRIPT), free_port()
    expected = [each.text for each in reference(model, RenderingKind.TRANSCRIPT).generate(asked, range(12), GREEDY)]
    with response_cache_in(tmp_path) as answers:
        with llama_server(path, "tiny", tmp_path / "log", window=WINDOW, port=port) as url:
            engine = at(url, RenderingKind.TRANSCRIPT)
            stack.callback(engine.close)
            cached = CachedEngine(engine, "tiny", "stage", answers)
            first = cached.generate(asked[:5], range(5), GREEDY)
        with pytest.raises(EngineError, match="does not answer") as caught:
            cached.generate(asked, range(12), GREEDY)
        assert "Start the server" in caught.value.remedy
        log = tmp_path / "second.log"
        with llama_server(path, "tiny", log, window=WINDOW, port=port):
            found = cached.generate(asked, range(12), GREEDY)
        assert log.read_text().count('"POST /v1/completions') == 7
    assert found[:5] == first
    assert [plain(each.text) for each in found] == [plain(each) for each in expected]
