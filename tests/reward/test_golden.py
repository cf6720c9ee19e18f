"""Golden scores: kept with the model, met by anyone who loads the folder, missed by a model that was touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from solon.config.fetchable import fetched_directory
from solon.config.recipe import EngineSettings, LoraSettings, PreferenceSettings, TrainingSettings
from solon.errors import ModelError
from solon.reward import golden
from solon.stages import s07_preference_model
from tests.training.tiny import artefact, asked, row_id, said, save_tiny_model, stage_folder

TRAINING = TrainingSettings(batch_size=8, epochs=3, learning_rate=3e-3, held_out=0.3)
SMOLLM2 = fetched_directory() / "smollm2-135m"


def trained(folder: Path, base: Path, adapter: LoraSettings | None, rows: int = 20) -> Path:
    labels = [
        {"row_id": row_id(prompt), "prompt": asked(prompt), "chosen": said(f"good {n}"), "rejected": said("bad bad"),
         "p_chosen": 0.8, "outcome": "ok"}
        for n in range(rows) for prompt in [f"How do I bake {'bread ' * (n % 5)}{n} ?"]
    ]  # fmt: skip
    settings = PreferenceSettings(training=TRAINING.model_copy(update={"lora": adapter}))
    inputs = s07_preference_model.PreferenceInputs(3, base, EngineSettings(), artefact(folder / "06", labels), None)
    return s07_preference_model.run(settings, inputs, stage_folder(folder / "07")).model


@pytest.fixture(scope="module", params=[None, LoraSettings(rank=4)], ids=["full", "lora"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    return trained(folder, save_tiny_model(folder / "tiny", pad="<|end|>"), request.param)


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("batch", [1, 40])
def test_plain_transformers_reads_the_golden_scores_from_texts(model: Path, side: str, batch: int) -> None:
    rows = golden.read_golden(model)
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side=side)
    classifier = AutoModelForSequenceClassification.from_pretrained(model)
    assert classifier.config.num_labels == 1 and classifier.config.pad_token_id != tokenizer.eos_token_id
    assert len({len(row["input_ids"]) for row in rows}) > 3, "padding has to be at work"
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        texts = [row["text"] for row in part]
        assert texts == [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in part]
        inputs = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
        with torch.no_grad():
            scores = classifier(**inputs).logits.squeeze(-1).tolist()
        assert scores == pytest.approx([row["score"] for row in part], abs=1e-5)


def test_the_checker_passes_what_was_saved(model: Path) -> None:
    found = golden.check(model)
    assert found.passed and found.rows == found.texts == 40
    assert golden.check(model.parent) == found, "the stage's folder serves as well"


def test_the_check_finds_changed_weights_and_another_padding(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "pad_token_id": config["eos_token_id"]}))
    fooled = golden.check(copy)
    assert fooled.transformers > 1e-3 and fooled.solon < 1e-5, "with pad == eos a stranger reads another token"
    (copy / "config.json").write_text(json.dumps(config))
    weights = load_file(copy / "model.safetensors")
    weights["score.weight"] += 1e-3
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    assert not golden.check(copy).passed


@pytest.mark.parametrize(
    "line", ["", "{}", "{broken", '{"text": "a", "messages": [], "input_ids": ["x"], "score": 1.0}']
)
def test_damaged_golden_scores_are_named_by_line(copy: Path, line: str) -> None:
    path = copy / golden.GOLDEN
    first = path.read_text().splitlines()[0]
    path.write_text(f"{first}\n{line}\n" if line else "")
    with pytest.raises(ModelError, match="damaged" if line else "empty") as error:
        golden.check(copy)
    assert f"{path}{':2' if line else ''}: " in str(error.value)
    path.unlink()
    with pytest.raises(ModelError, match="no golden scores"):
        golden.check(copy)


@pytest.mark.parametrize(("off", "passed"), [(1.1e-5, True), (1e-3, False)])
def test_rounding_passes_and_another_reading_does_not(off: float, passed: bool) -> None:
    """1.1e-5 was measured on a sound model of a small run of the testbed, in the padded batches of transformers."""
    assert golden.Replay(64, transformers=off, solon=0.0, texts=64, templates=64).passed is passed
    assert golden.Replay(64, transformers=0.0, solon=off, texts=64, templates=64).passed is passed


def test_a_difference_that_is_no_number_does_not_pass() -> None:
    assert golden.furthest([1.0, float("nan")], [1.0, 1.0]) == float("inf")
    assert golden.furthest([200.002], [200.0]) == pytest.approx(1e-5, rel=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(not SMOLLM2.is_dir(), reason="solon models fetch smollm2-135m makes it")
def test_a_real_chat_model_whose_padding_is_its_end(tmp_path: Path) -> None:
    model = trained(tmp_path, SMOLLM2, LoraSettings(rank=4), rows=8)
    found = golden.check(model)
    assert found.passed and found.texts == found.rows == 16
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    row = golden.read_golden(model)[0]
    assert tokenizer.apply_chat_template(row["messages"], tokenize=False) == row["text"]
