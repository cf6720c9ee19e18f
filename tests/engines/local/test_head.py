"""Letters of nearly the same probability, asked of models in bfloat16."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.engines.tiny import WINDOW, byte_tokenizer, model_of, questions, with_example
from torch import Tensor, nn
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GraniteConfig,
    GraniteForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from solon.config.recipe import Dtype, EngineSettings, SamplingParams
from solon.conversation import Prompt, Role, Turn
from solon.engines.local.causal_model import CausalModel
from solon.engines.local.engine import LocalEngine
from solon.engines.local.head import in_float32
from solon.errors import ModelError

SIZES: dict[str, Any] = {
    "vocab_size": 420,
    "max_position_embeddings": WINDOW,
    "pad_token_id": 1,
    "eos_token_id": 0,
    "bos_token_id": 0,
    "initializer_range": 0.15,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
MAKERS: dict[str, Callable[[], Any]] = {
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SIZES, head_dim=8, query_pre_attn_scalar=8, sliding_window=12, final_logit_softcapping=10.0)
    ),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**SIZES)),
    "phi": lambda: PhiForCausalLM(PhiConfig(**SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=8)),
    "granite": lambda: GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=1.7)),
    "cohere": lambda: CohereForCausalLM(CohereConfig(**SIZES, logit_scale=0.3)),
}
PLAIN = ["llama", "qwen2", "neox", "gpt2", "phi3", "phi", "qwen3"]
AFTERWARDS: dict[str, Callable[[Tensor], Tensor]] = {
    "gemma2": lambda logits: torch.tanh(logits / 30) * 30,
    "gemma3": lambda logits: torch.tanh(logits / 10) * 10,
    "granite": lambda logits: logits / 1.7,
    "cohere": lambda logits: logits * 0.3,
}
"""What a model does to the product of hidden states and head."""
KINDS = [*PLAIN, *AFTERWARDS]
LETTERS = ("A", "B")
LONGER = ("the A", "the B")
TOLERANCE = 5e-6
"""Of log-odds, against the same product in float64: a few units in the last place of a float32 logit of size 8."""


def half_model(kind: str) -> Any:
    """A random model in bfloat16 for which A and B are nearly the same word."""
    torch.manual_seed(7)
    model = MAKERS[kind]().eval() if kind in MAKERS else model_of(kind, dtype=torch.float32)
    model = model.to(torch.bfloat16)
    head = model.get_output_embeddings()
    a, b = (token_of(letter) for letter in LETTERS)
    with torch.no_grad():
        head.weight[a] *= 3
        head.weight[b] = head.weight[a]
        # Three coordinates are the next number of bfloat16, up or down in turn.
        head.weight[b, :3].view(torch.int16).add_(torch.tensor([1, -1, 1], dtype=torch.int16))
        if head.bias is not None:
            head.bias.normal_(0, 0.5)
            head.bias[b] = head.bias[a]
    return model


def token_of(letter: str) -> int:
    (token,) = byte_tokenizer()(letter, add_special_tokens=False)["input_ids"]
    return int(token)


def asked(count: int) -> list[Prompt]:
    prompts = [Prompt((Turn(Role.QUESTION, p.turns[0].content),), Role.ANSWER, opening="(") for p in questions(count)]
    return [with_example(prompt) if number % 2 else prompt for number, prompt in enumerate(prompts)]


@contextmanager
def hidden_states(head: nn.Module) -> Iterator[list[Tensor]]:
    """The head's inputs while the context lasts, in the order of its calls."""
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    yield seen
    handle.remove()


def exact(kind: str, model: Any, hidden: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """Log-probabilities of these hidden states, in wide numbers."""
    head = model.get_output_embeddings()
    logits = hidden.to(dtype) @ head.weight.to(dtype).t()
    if head.bias is not None:
        logits = logits + head.bias.to(dtype)
    return AFTERWARDS.get(kind, lambda same: same)(logits).log_softmax(-1).detach()


def odds(scores: Sequence[tuple[float, ...]]) -> list[float]:
    return [first - second for first, second in scores]


def choose_seeing(
    engine: LocalEngine, prompt: Prompt, options: Sequence[str]
) -> tuple[tuple[float, ...], list[Tensor]]:
    """The scores of one prompt and the states (N, H) that the head read for it, by row of the last batch."""
    with hidden_states(engine.model.get_output_embeddings()) as seen:
        (scores,) = engine.choose([prompt], options)
    return scores, list(seen[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_near_even_letters_do_not_tie_and_have_the_odds_of_wide_arithmetic(kind: str) -> None:
    model, prompts = half_model(kind), asked(64)
    engine = LocalEngine(model, byte_tokenizer())
    letters = [token_of(letter) for letter in LETTERS]
    got, wide, rounded = [], [], []
    for prompt in prompts:
        scores, (hidden_NH,) = choose_seeing(engine, prompt, LETTERS)
        got.append(scores)
        wide.append(tuple(exact(kind, model, hidden_NH[-1])[letters].tolist()))
        with torch.no_grad():
            first, second = model.get_output_embeddings()(hidden_NH[-1:])[0, letters].tolist()
        rounded.append(first - second)
    assert rounded.count(0.0) >= 3, "the test needs questions that would tie"
    assert [true for found, true in zip(odds(got), odds(wide), strict=True) if found == 0 and abs(true) > 1e-6] == []
    assert odds(got) == pytest.approx(odds(wide), abs=TOLERANCE)
    assert [pytest.approx(each, abs=2e-5) for each in wide] == got
    # In one call, with padding and a copied prefix, hidden states are rounded otherwise; nothing ties all the same.
    together = LocalEngine(model, byte_tokenizer(), EngineSettings(batch_size=7))
    assert odds(together.choose(prompts, LETTERS)).count(0.0) <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_options_changes_no_bit(kind: str) -> None:
    engine = LocalEngine(half_model(kind), byte_tokenizer(), EngineSettings(batch_size=6))
    forward, backward = engine.choose(asked(12), LETTERS), engine.choose(asked(12), LETTERS[::-1])
    assert [scores[::-1] for scores in backward] == forward


@pytest.mark.parametrize("kind", KINDS)
def test_options_of_several_tokens_are_summed_in_wide_numbers(kind: str) -> None:
    model = half_model(kind)
    engine = LocalEngine(model, byte_tokenizer())
    for prompt in asked(12):
        options = engine.continuation(prompt, LONGER).options
        assert len(options[0]) > 1
        scores, states = choose_seeing(engine, prompt, LONGER)
        wide = []
        # Options that differ in their last token only are one row; rows of one length are in the order of tokens.
        rows = dict(zip(dict.fromkeys(tokens[:-1] for tokens in sorted(options)), states, strict=True))
        for tokens in sorted(options):
            hidden_NH = rows[tokens[:-1]]
            logprobs = exact(kind, model, hidden_NH[-len(tokens) :])
            wide.append(float(logprobs[range(len(tokens)), list(tokens)].sum()))
        assert sorted(scores) == pytest.approx(sorted(wide), abs=5e-5)
        assert abs(scores[0] - scores[1]) == pytest.approx(abs(wide[0] - wide[1]), abs=TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_reported_logprobs_are_those_of_wide_arithmetic(kind: str) -> None:
    """What is drawn comes from unrounded logits too: with logits in bfloat16 these differ in the second digit."""
    model = half_model(kind)
    engine = LocalEngine(model, byte_tokenizer())
    with hidden_states(model.get_output_embeddings()) as seen:
        (completion,) = engine.generate(questions(1), [3], SamplingParams(max_tokens=12, temperature=1.0))
    wide = [exact(kind, model, state[0, -1])[token] for state, token in zip(seen, completion.token_ids, strict=False)]
    assert len(completion.token_ids) > 1
    assert completion.logprobs == pytest.approx([float(each) for each in wide], abs=2e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_large_head_is_widened_in_pieces(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solon.engines.local.head._PIECE", 100)
    torch.manual_seed(0)
    head = nn.Linear(32, 50).to(dtype)
    hidden = torch.randn(2, 3, 32).to(dtype)
    wide = hidden.double() @ head.weight.double().t() + head.bias.double()
    with torch.no_grad(), in_float32(head):
        got = head(hidden)
    assert got.dtype == torch.float32
    assert torch.allclose(got.double(), wide, atol=1e-6, rtol=0)
    assert head(hidden).dtype == dtype


def test_the_head_is_itself_again_after_an_error() -> None:
    head = nn.Linear(4, 4).to(torch.bfloat16)
    with pytest.raises(KeyError), in_float32(head):
        raise KeyError
    assert "forward" not in vars(head)


class Wrapped(nn.Module):
    """A head that is no plain product, such as one with an adapter."""

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.inner = head

    def forward(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.inner(hidden)
        return logits


def test_letters_are_refused_where_the_logits_are_rounded_all_the_same() -> None:
    model = half_model("llama")
    model.lm_head = Wrapped(model.lm_head)
    engine = LocalEngine(model, byte_tokenizer())
    with pytest.raises(ModelError, match="rounds its logits to bfloat16") as caught:
        engine.choose(asked(2), LETTERS)
    assert "engine.dtype=float32" in caught.value.remedy
    assert all(
        completion.logprobs for completion in engine.generate(questions(2), [1, 2], SamplingParams(max_tokens=4))
    )


def test_wide_models_are_left_alone() -> None:
    model = model_of("qwen2", dtype=torch.float32)
    forward = CausalModel(model, WINDOW)
    engine = LocalEngine(model, byte_tokenizer())
    with in_float32(model.lm_head):
        assert "forward" not in vars(model.lm_head)
    assert (forward.dtype, engine.dtype) == (torch.float32, "float32")


@pytest.mark.parametrize(
    ("dtype", "stored", "loaded"),
    [
        (Dtype.AUTO, torch.bfloat16, torch.float32),
        (Dtype.FLOAT32, torch.bfloat16, torch.float32),
        (Dtype.BFLOAT16, torch.float32, torch.bfloat16),
    ],
)
def test_a_model_is_loaded_in_the_numbers_of_the_setting(
    tmp_path: Path, dtype: Dtype, stored: torch.dtype, loaded: torch.dtype
) -> None:
    model_of("llama", dtype=stored).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    engine = LocalEngine.load(tmp_path, EngineSettings(dtype=dtype), device="cpu")
    assert {weight.dtype for weight in engine.model.parameters()} == {loaded}
    assert engine.dtype == str(loaded).removeprefix("torch.")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", ["llama", "phi", "gemma3"])
def test_a_gpu_gives_float32_logits_of_half_precision_models(kind: str) -> None:
    model = half_model(kind).to("cuda")
    engine = LocalEngine(model, byte_tokenizer())
    letters = [token_of(letter) for letter in LETTERS]
    for prompt in asked(16):
        scores, (hidden_NH,) = choose_seeing(engine, prompt, LETTERS)
        assert scores == pytest.approx(exact(kind, model, hidden_NH[-1])[letters].tolist(), abs=2e-5)
