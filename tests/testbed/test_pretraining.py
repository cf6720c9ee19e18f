"""Training the bundled models, in small: it learns, it resumes to the same weights, it writes ordinary folders."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from solon.testbed import pretraining, windows
from solon.testbed.pretraining import PretrainingPlan, train

PLAN = PretrainingPlan(0, 500, 400, 48, 1, 2048, pretrained_tokens=40_000, assistant_tokens=15_000)


class Interrupted(Exception):
    """Stands for a kill between two windows."""


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(windows, "WINDOW_DOCUMENTS", 64)
    monkeypatch.setattr(pretraining, "WINDOWS_PER_CHECKPOINT", 1)
    precision = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(precision)


def weights(folder: Path) -> dict[str, bytes]:
    return {part: (folder / part / "model.safetensors").read_bytes() for part in ("pretrained", "assistant")}


def test_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    reports: list[str] = []
    train(tmp_path / "whole", PLAN, reports.append)
    losses = [float(line.split("critique ")[1].split()[0]) for line in reports if line.startswith("pretrained: ")]
    assert losses[-1] < losses[0] - 0.8

    lines = 0

    def stop(line: str) -> None:
        nonlocal lines
        lines += 1
        if lines in (3, 8):
            raise Interrupted

    for _ in range(10):
        try:
            train(tmp_path / "parts", PLAN, stop)
            break
        except Interrupted:
            continue
    assert lines > 8
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


def test_what_is_written_is_an_ordinary_folder_in_half_precision(tmp_path: Path) -> None:
    train(tmp_path, PLAN, lambda line: None)
    folder = tmp_path / "assistant"
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float16}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id == model.generation_config.eos_token_id
    assert tokenizer.chat_template is None
    ids = tokenizer("\n\nHuman: Hello.\n\nAssistant:", return_tensors="pt").input_ids
    assert torch.isfinite(model(ids).logits).all()
