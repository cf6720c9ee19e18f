"""An exported model: what the folder holds, that anyone loads it, and what its card says and leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.stages.workbench import CONSTITUTION
from tests.training.tiny import artefact, asked, row_id, said, same_files, save_tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from solon.config.recipe import EngineSettings, FinetuneSettings, LoraSettings, ModelSettings, Recipe, TrainingSettings
from solon.errors import RunError
from solon.export.model_folder import ExportedWeights, export_model
from solon.runs import RunDirectory
from solon.stages import s04_sl_cai

HOSTILE = "a`b|c\u202e<script>\n# not a heading"


def trained(folder: Path, adapter: LoraSettings | None = None, name: str = "house") -> RunDirectory:
    """A run with one finished stage, `sl-cai`, on a tiny model."""
    folder.mkdir()
    (folder / "rules.yaml").write_text(CONSTITUTION, encoding="utf-8")
    model = save_tiny_model(folder / "secret-place" / "tiny-base")
    settings = FinetuneSettings(training=TrainingSettings(batch_size=4, held_out=0.3, lora=adapter))
    recipe = Recipe(name=name, finetune=settings, models=ModelSettings(pretrained=str(model)))
    run = RunDirectory.create(folder / "run", recipe, folder / "rules.yaml")
    revisions = [
        {"row_id": row_id(f"r{n}"), "step": 1, "prompt": asked(f"How do I steal {n} ?"),
         "completion": said("It would hurt people ."), "outcome": "ok"} for n in range(8)
    ]  # fmt: skip
    helpful = [
        {"row_id": row_id(f"h{n}"), "kind": "helpful", "sample": 0, "prompt": asked(f"How do I bake {n} ?"),
         "completion": said("First mix ."), "outcome": "ok"} for n in range(8)
    ]  # fmt: skip
    inputs = s04_sl_cai.FinetuneInputs(
        1, model, EngineSettings(), artefact(folder / "03", revisions), artefact(folder / "02", helpful)
    )
    with run.lock():
        s04_sl_cai.run(settings, inputs, run.begin(4, "sl-cai", {"settings": settings, "pretrained": "0a1b"}))
    return run


def card_of(folder: Path) -> tuple[dict[str, object], str]:
    text = (folder / "README.md").read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_the_folder_is_a_model_that_anyone_loads(tmp_path: Path) -> None:
    run = trained(tmp_path / "made", LoraSettings(rank=2))
    done = export_model(run, "sl-cai", ExportedWeights.MERGED, tmp_path / "out" / "model")
    AutoModelForCausalLM.from_pretrained(done)
    assert AutoTokenizer.from_pretrained(done).eos_token == "<|end|>"
    stage = run.finished("sl-cai")
    assert stage is not None
    assert (done / "model.safetensors").read_bytes() == (stage.model / "model.safetensors").read_bytes()
    assert (done / "constitution.yaml").read_bytes() == (run.path / "constitution.yaml").read_bytes()
    assert not (done / "adapter").exists()
    assert [each.name for each in done.parent.iterdir()] == ["model"]


def test_the_card_names_constitution_data_base_and_figures_but_no_folder_of_the_machine(tmp_path: Path) -> None:
    run = trained(tmp_path / "made")
    head, body = card_of(export_model(run, "sl-cai", ExportedWeights.MERGED, tmp_path / "model"))
    assert head["library_name"] == "transformers" and "base_model" not in head
    stage = run.finished("sl-cai")
    assert stage is not None
    for text in (run.constitution.hash, stage.hash, "`0a1b`", "`tiny-base`", "`harm`, `law`, `tone`", "held_out_loss:"):
        assert text in body
    assert f"held_out_loss_before: {stage.facts['held_out_loss_before']}" in body
    assert "learning_rate: 0.0003" in body
    assert str(tmp_path) not in body and "secret-place" not in body


def test_the_adapter_alone_names_its_base_without_the_folder(tmp_path: Path) -> None:
    run = trained(tmp_path / "made", LoraSettings(rank=2))
    done = export_model(run, "sl-cai", ExportedWeights.ADAPTER, tmp_path / "lora")
    text = (done / "adapter_config.json").read_text()
    assert '"base_model_name_or_path": "tiny-base"' in text and str(tmp_path) not in text
    assert (done / "adapter_model.safetensors").exists() and (done / "tokenizer.json").exists()
    assert not (done / "model.safetensors").exists()


def test_a_model_trained_in_full_has_no_adapter(tmp_path: Path) -> None:
    run = trained(tmp_path / "made")
    with pytest.raises(RunError, match=r"'sl-cai' was trained in full .* --weights merged"):
        export_model(run, "sl-cai", ExportedWeights.ADAPTER, tmp_path / "lora")
    assert not (tmp_path / "lora").exists()


def test_names_of_a_run_cannot_write_the_card(tmp_path: Path) -> None:
    run = trained(tmp_path / "made", name=HOSTILE)
    _, body = card_of(export_model(run, "sl-cai", ExportedWeights.MERGED, tmp_path / "model"))
    assert "# sl-cai of the run `a'b/c[U+202E]<script> # not a heading`\n" in body
    assert "\n# not" not in body


def test_existing_files_are_kept_and_missing_models_are_reported(tmp_path: Path) -> None:
    run = trained(tmp_path / "made")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(RunError, match="the folder is not empty"):
        export_model(run, "sl-cai", ExportedWeights.MERGED, tmp_path / "full")
    with pytest.raises(RunError, match=r"'rl-cai' is not trained yet\. Continue with: solon run .* --until rl-cai"):
        export_model(run, "rl-cai", ExportedWeights.MERGED, tmp_path / "rl")
    stage = run.finished("sl-cai")
    assert stage is not None
    weights = stage.path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(RunError, match="has changed since it was published"):
        export_model(run, "sl-cai", ExportedWeights.MERGED, tmp_path / "damaged")
    assert not (tmp_path / "damaged").exists()


def test_two_exports_are_the_same(tmp_path: Path) -> None:
    run = trained(tmp_path / "made")
    (tmp_path / "two").mkdir()
    one, two = (export_model(run, "sl-cai", ExportedWeights.MERGED, tmp_path / name) for name in ("one", "two"))
    assert same_files(one, two)


def code_of(folder: Path) -> str:
    _, body = card_of(folder)
    return body.split("```python\n")[1].split("```")[0]


def test_the_code_of_the_card_has_the_model_reply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(tmp_path / "made")
    done = export_model(run, "sl-cai", ExportedWeights.MERGED, tmp_path / "model")
    monkeypatch.chdir(done)
    known: dict[str, object] = {}
    exec(compile(code_of(done), "card", "exec"), known)
    drawing = run.recipe.measure.sampling
    assert f"max_new_tokens={drawing.max_tokens}, do_sample=True, temperature={drawing.temperature}" in code_of(done)
    replies, inputs = known["replies"], known["inputs"]
    assert replies.shape[1] > inputs["input_ids"].shape[1]  # type: ignore[attr-defined, index]
    assert capsys.readouterr().out.endswith("\n")
    assert "The weights are float32" in card_of(done)[1]


def test_the_code_of_an_adapters_card_puts_it_on_its_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(tmp_path / "made", LoraSettings(rank=2))
    done = export_model(run, "sl-cai", ExportedWeights.ADAPTER, tmp_path / "model")
    # The card names the base without this machine's folders; here the base is next to the adapter.
    (done / "tiny-base").symlink_to(tmp_path / "made" / "secret-place" / "tiny-base")
    monkeypatch.chdir(done)
    known: dict[str, object] = {}
    exec(compile(code_of(done), "card", "exec"), known)
    assert type(known["model"]).__name__ == "PeftModelForCausalLM"


def test_the_card_of_a_run_whose_constitution_was_edited_says_so(tmp_path: Path) -> None:
    run = trained(tmp_path / "made")
    file = run.path / "constitution.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("harm", "charm"), encoding="utf-8")
    done = export_model(RunDirectory.open(run.path), "sl-cai", ExportedWeights.MERGED, tmp_path / "out")
    assert "constitution.yaml was edited since the run was made" in card_of(done)[1]
