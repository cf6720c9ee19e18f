"""Loading models, refusing what is none, and speaking for weights that change."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.engines.tiny import WINDOW, byte_tokenizer, chat_tokenizer, model_of, question, questions, with_example

from solon.config.model_spec import ModelSpec
from solon.config.recipe import EngineSettings, SamplingParams
from solon.engines.local.engine import LocalEngine
from solon.engines.registry import identity_of, name_of, open_engine
from solon.errors import ModelError


def save(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    model_of("llama", dtype=dtype).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def test_a_saved_model_answers_as_the_one_in_memory(tmp_path: Path) -> None:
    engine = LocalEngine.load(save(tmp_path / "model"), EngineSettings(), device="cpu")
    here = LocalEngine(model_of("llama", dtype=torch.float32), byte_tokenizer())
    assert engine.window == WINDOW
    assert engine.name == name_of(ModelSpec.parse(tmp_path / "model"))
    prompts = questions(5)
    assert engine.generate(prompts, range(5), SamplingParams(max_tokens=8)) == here.generate(
        prompts, range(5), SamplingParams(max_tokens=8)
    )


def test_half_precision_files_are_loaded_as_float32_on_a_cpu(tmp_path: Path) -> None:
    engine = LocalEngine.load(save(tmp_path / "half", torch.float16), device="cpu")
    assert {weight.dtype for weight in engine.model.parameters()} == {torch.float32}


def test_the_hash_names_the_weights(tmp_path: Path) -> None:
    one, two = (ModelSpec.parse(save(tmp_path / name)) for name in ("one", "two"))
    assert identity_of(one) == identity_of(two)
    save(tmp_path / "two", torch.float16)
    assert identity_of(one) != identity_of(two) and name_of(two) == f"two@{identity_of(two)[:12]}"


@pytest.mark.parametrize(
    ("files", "cause"),
    [
        ({}, "config.json is missing"),
        ({"config.json": "{}"}, "no weights"),
        ({"config.json": "{}", "pytorch_model.bin": ""}, "pickle"),
        ({"config.json": "{}", "model.safetensors": ""}, "cannot be read"),
        ({"config.json": "no json", "model.safetensors": ""}, "broken JSON"),
        ({"adapter_config.json": "{}", "adapter_model.safetensors": ""}, "LoRA adapter"),
    ],
)
def test_a_folder_that_is_no_model_gives_one_line(tmp_path: Path, files: dict[str, str], cause: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ModelError, match=cause) as caught:
        LocalEngine.load(tmp_path)
    assert Path(caught.value.place) in (tmp_path, *tmp_path.iterdir())
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_missing_folder_a_file_and_an_unknown_name_give_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in (tmp_path / "none", tmp_path / "file", "testbed:nobody"):
        with pytest.raises(ModelError) as caught:
            open_engine(ModelSpec.parse(name))
        assert "\n" not in str(caught.value)


def test_remote_code_is_never_run(tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    mark = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')")
    config = (folder / "config.json").read_text()
    remote = '"auto_map": {"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"}, "model_type": "evil",'
    (folder / "config.json").write_text("{" + remote + config.replace('"model_type": "llama",', "")[1:])
    with pytest.raises(ModelError):
        LocalEngine.load(folder)
    assert not mark.exists()


def test_the_window_can_be_narrowed_but_not_widened() -> None:
    model, tokenizer = model_of("llama"), byte_tokenizer()
    assert LocalEngine(model, tokenizer, EngineSettings(window=50)).window == 50
    with pytest.raises(ModelError, match=f"reads {WINDOW} tokens") as caught:
        LocalEngine(model, tokenizer, EngineSettings(window=WINDOW + 1))
    assert f"engine.window={WINDOW}" in caught.value.remedy


def test_a_tokenizer_of_another_model_is_refused() -> None:
    with pytest.raises(ModelError, match="the model only 100"):
        LocalEngine(model_of("llama", 100), chat_tokenizer())


def test_changed_weights_are_noticed() -> None:
    """An optimizer step in place must invalidate kept prefixes."""
    model = model_of("llama")
    engine = LocalEngine(model, byte_tokenizer())
    prompts = [with_example(prompt) for prompt in questions(4)]
    engine.choose(prompts, ["A", "B"])
    before = engine._prefixes.computed
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    model(input_ids=torch.tensor([[1, 2, 3]])).logits.square().mean().backward()
    optimizer.step()
    after = engine.choose(prompts, ["A", "B"])
    assert engine._prefixes.computed == before + 1
    fresh = LocalEngine(model, byte_tokenizer()).choose(prompts, ["A", "B"])
    assert after == fresh


def test_a_model_in_training_stays_so() -> None:
    model = model_of("llama").train()
    LocalEngine(model, byte_tokenizer()).generate([question("bread")], [0], SamplingParams(max_tokens=2))
    assert model.training
    model(input_ids=torch.tensor([[1, 2, 3]])).logits.sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_an_architecture_without_positions_is_refused() -> None:
    from transformers import BloomConfig, BloomForCausalLM

    model = BloomForCausalLM(BloomConfig(vocab_size=420, hidden_size=16, n_layer=1, n_head=2, seq_length=64))
    with pytest.raises(ModelError, match="cannot be asked in batches"):
        LocalEngine(model, byte_tokenizer(), EngineSettings(window=64))


def test_alibi_over_columns_is_refused() -> None:
    from transformers import FalconConfig, FalconForCausalLM

    config = FalconConfig(vocab_size=420, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, alibi=True)
    with pytest.raises(ModelError, match="ALiBi"):
        LocalEngine(FalconForCausalLM(config), byte_tokenizer(), EngineSettings(window=64))


def test_layers_that_keep_a_state_are_refused() -> None:
    model = model_of("qwen2")
    model.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(ModelError, match="linear_attention"):
        LocalEngine(model, byte_tokenizer())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_says_what_the_cpu_says() -> None:
    prompts = [*questions(5), *map(with_example, questions(4))]
    completions = [
        LocalEngine(model_of("llama").to(device), byte_tokenizer(), EngineSettings(batch_size=4)).generate(
            prompts, range(9), SamplingParams(max_tokens=12), ("\n\nHuman:",)
        )
        for device in ("cpu", "cuda")
    ]
    assert [c.token_ids for c in completions[0]] == [c.token_ids for c in completions[1]]
