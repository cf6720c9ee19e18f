"""Encoders and models with other positions, which transformers loads as causal language models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from solon.config.recipe import EngineSettings
from solon.engines.local.engine import LocalEngine
from solon.errors import ModelError
from solon.training.models import grow_preference_model, load_causal_lm, load_tokenizer
from tests.engines.tiny import WINDOW, byte_tokenizer, full_logprobs, questions, with_example

FROM_THE_PADDING_TOKEN = (
    "roberta",
    "camembert",
    "data2vec-text",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
)
FROM_0 = ("bert", "bert-generation", "big_bird", "electra", "ernie", "megatron-bert", "rembert", "roc_bert")


def made(kind: str, **more: Any) -> Any:
    config = CONFIG_MAPPING[kind](
        vocab_size=420, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=WINDOW, pad_token_id=1, bos_token_id=0, eos_token_id=0, **more,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).double().eval()


@pytest.mark.parametrize("kind", [*FROM_0, *FROM_THE_PADDING_TOKEN])
def test_an_encoder_is_no_language_model(kind: str) -> None:
    with pytest.raises(ModelError, match="is an encoder: each token sees those that follow") as caught:
        LocalEngine(made(kind), byte_tokenizer())
    assert caught.value.remedy


@pytest.mark.parametrize("setting", [{"use_bidirectional_attention": True}, {"is_causal": False}], ids=str)
def test_a_decoder_that_is_set_to_see_both_ways_is_refused(setting: dict[str, Any], tmp_path: Path) -> None:
    model = made("gemma3_text", num_key_value_heads=2, head_dim=8, **setting).float()
    with pytest.raises(ModelError, match=f"a Gemma3ForCausalLM with {next(iter(setting))}=.* is an encoder"):
        LocalEngine(model, byte_tokenizer())
    model.save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="is an encoder"):
        grow_preference_model(tmp_path, load_tokenizer(tmp_path), EngineSettings(), 3)


@pytest.mark.parametrize("kind", FROM_THE_PADDING_TOKEN)
def test_positions_from_the_padding_token_on_are_refused(kind: str) -> None:
    with pytest.raises(ModelError, match="counts positions from its padding token on"):
        LocalEngine(made(kind, is_decoder=True), byte_tokenizer())


@pytest.mark.parametrize("kind", ["bert", "rembert", "gpt_neox"])
def test_a_decoder_of_that_kind_says_what_plain_transformers_says(kind: str) -> None:
    model = made(kind, **({} if kind == "gpt_neox" else {"is_decoder": True}))
    engine = LocalEngine(model, byte_tokenizer())
    prompts = [with_example(prompt) for prompt in questions(4)]
    a, b = (tokens[0] for tokens in engine.continuation(prompts[0], ["A", "B"]).options)
    for prompt, found in zip(prompts, engine.choose(prompts, ["A", "B"]), strict=True):
        (ids,) = engine.tokens.encode(["".join(engine.rendering.render(prompt))])
        logprobs = full_logprobs(model, list(ids))[-1]
        assert found == pytest.approx((float(logprobs[a]), float(logprobs[b])), abs=2e-5)


def test_training_refuses_a_folder_with_an_encoder(tmp_path: Path) -> None:
    made("bert").float().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="is an encoder") as caught:
        load_causal_lm(tmp_path, EngineSettings())
    assert caught.value.place == str(tmp_path / "config.json")
