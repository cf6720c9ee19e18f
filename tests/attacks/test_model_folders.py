"""Hostile model folders: nothing of theirs runs, nothing is asked, and each is refused in one line that names it.

Every folder is a tiny sound one that a test changes in one way. What would run leaves a mark, so that "nothing ran" is
seen and not assumed.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from solon.config.settings import SamplingParams
from solon.engines.local.engine import LocalEngine
from tests.attacks.folders import (
    ASKED,
    CONFIG,
    SCORING,
    TOKENIZER,
    WEIGHTS,
    Load,
    bring_code,
    edit,
    refused,
    spoil,
)
from tests.cli.test_cli import run
from tests.engines.tiny import question
from tests.training.tiny import asked, said

pytestmark = pytest.mark.usefixtures("nothing_is_asked")


# Code of the folder's own.


@pytest.mark.parametrize("load", ASKED.values(), ids=ASKED)
def test_code_for_an_unknown_architecture_is_refused_without_a_question(base: Path, marks: Path, load: Load) -> None:
    bring_code(base, marks, model_type="evil")
    refused(load, base, "never run", "evil_c.Config")
    assert not list(marks.iterdir())


@pytest.mark.parametrize("load", SCORING.values(), ids=SCORING)
def test_a_preference_models_code_is_refused_too(pm: Path, marks: Path, load: Load) -> None:
    bring_code(pm, marks, model_type="evil")
    refused(load, pm, "never run")
    assert not list(marks.iterdir())


@pytest.mark.parametrize("load", [*ASKED.values()], ids=[*ASKED])
def test_of_a_known_architecture_the_librarys_own_class_is_taken(base: Path, marks: Path, load: Load) -> None:
    bring_code(base, marks, model_type=None)
    load(base)
    assert not list(marks.iterdir())


def test_and_answers_as_it_did_without_the_code(sound: Path, base: Path, marks: Path) -> None:
    bring_code(base, marks, model_type=None)
    messages = [
        LocalEngine.load(folder, device="cpu").generate([question("bread")], [1], SamplingParams(max_tokens=6))
        for folder in (sound / "base", base)
    ]
    assert messages[0] == messages[1] and not list(marks.iterdir())


def test_a_known_architecture_that_needs_its_code_is_refused(base: Path, marks: Path) -> None:
    bring_code(base, marks, model_type=None)
    weights = load_file(base / WEIGHTS)
    weights["model.layers.0.secret.weight"] = torch.ones(2, 2)
    save_file(weights, base / WEIGHTS, {"format": "pt"})
    refused(ASKED["asked"], base, "are unused", "secret")
    assert not list(marks.iterdir())


@pytest.mark.parametrize("whole", [True, False])
def test_a_tokenizer_of_a_class_that_nobody_knows_is_refused(base: Path, marks: Path, whole: bool) -> None:
    bring_code(base, marks, model_type=None)
    edit(base / TOKENIZER, tokenizer_class="Tok")
    if not whole:
        (base / "tokenizer.json").unlink()
    refused(ASKED["asked"], base, "the tokenizer is code")
    assert not list(marks.iterdir())


def test_the_shared_case(sound: Path, tmp_path: Path, marks: Path) -> None:
    script = Path(__file__).parents[2].parent / "shared" / "cases" / "remote_code_folder.py"
    if not script.is_file():
        pytest.skip("no shared cases here")
    for name in ("base", "pm"):
        folder = Path(shutil.copytree(sound / name, tmp_path / name))
        before, sys.argv = sys.argv, [str(script), str(folder), str(marks)]
        try:
            exec(compile(script.read_text(), str(script), "exec"), {"__name__": "__main__"})
        finally:
            sys.argv = before
        for load in (ASKED if name == "base" else SCORING).values():
            refused(load, folder, "never run")
    assert not list(marks.iterdir())


# Through the command line.


def test_commands_refuse_code_in_one_line(
    base: Path, pm: Path, marks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (base, pm):
        bring_code(folder, marks, model_type="evil")
    labels = tmp_path / "labels.jsonl"
    row = {"prompt": asked("How ?"), "chosen": said("good"), "rejected": said("bad"), "p_chosen": 0.9}
    labels.write_text(f"{json.dumps(row)}\n" * 4)
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"prompt": asked("How ?"), "response_a": "good", "response_b": "bad"}) + "\n")
    for command in (
        ("preference", tmp_path / "out", "--base", base, "--labels", labels, "-q"),
        ("serve-pm", pm, "--port", "0"),
        ("score", labels, "--model", pm),
        ("label", tmp_path / "labelled", pairs, "--set", f"models.feedback={base}", "-q"),
        ("run", tmp_path / "run", "--set", f"models.critic={base}", "-q"),
    ):
        code, out, err = run(capsys, *command)
        assert (code, out, err.count("\n")) == (1, "", 1), (command, out, err)
        assert err.startswith("Error: ") and "never run" in err, err
    assert not list(marks.iterdir())


def test_a_run_names_the_part_that_the_folder_plays(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(base, float("nan"))
    few = ("--set", "prompts.limit_red_team=2", "--set", "prompts.limit_helpful=2")
    code, _, err = run(capsys, "run", tmp_path / "run", "--set", f"models.critic={base}", *few, "-q")
    assert code == 1 and f"{base} (models.critic): the weight" in err, err


# Pickles, and other ways to the hub.


class Leaves:
    """Unpickled, it writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "training_args.bin"])
def test_a_pickle_is_never_read(base: Path, marks: Path, name: str) -> None:
    (base / name).write_bytes(pickle.dumps(Leaves(marks / "ran")))
    for load in ASKED.values():
        load(base)  # next to safetensors it does no harm
    (base / WEIGHTS).unlink()
    for load in ASKED.values():
        refused(load, base)
    assert not list(marks.iterdir())


def test_an_index_of_pickles_is_never_followed(base: Path, marks: Path) -> None:
    (base / WEIGHTS).unlink()
    (base / "one.bin").write_bytes(pickle.dumps(Leaves(marks / "ran")))
    edit(base / f"{WEIGHTS}.index.json", weight_map={"model.norm.weight": "one.bin"}, metadata={})
    for load in ASKED.values():
        refused(load, base, "'one.bin'")
    assert not list(marks.iterdir())


@pytest.mark.parametrize("named", ["someone/base", "../../base", "/etc"])
@pytest.mark.parametrize("whole", [True, False])
def test_an_adapter_leads_nowhere(base: Path, named: str, whole: bool) -> None:
    edit(base / "adapter_config.json", peft_type="LORA", base_model_name_or_path=named, r=4)
    (base / "adapter_model.bin").write_bytes(b"cos\nsystem\n")
    if not whole:
        (base / CONFIG).unlink()
    for load in ASKED.values():
        refused(load, base, "LoRA adapter")


@pytest.mark.parametrize(
    "changes",
    [
        {"target_modules": "(a+)+$"},
        {"r": 10**9},
        {"r": True},
        {"lora_alpha": "1"},
        {"megatron_config": {"a": 1}, "megatron_core": "evil"},
        {"peft_type": "VERA"},
        {"use_dora": True},
    ],
)
def test_an_adapters_settings_are_plain_or_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    from solon.model_folders.adapter import adapter_settings

    given = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    edit(tmp_path / "adapter_config.json", **given, base_model_name_or_path="someone/base", auto_mapping={"a": "os"})
    assert adapter_settings(tmp_path).rank == 4
    edit(tmp_path / "adapter_config.json", **changes)
    refused(adapter_settings, tmp_path, "not a plain LoRA adapter")


@pytest.mark.parametrize("method", ["gptq", "bitsandbytes", "fp8", "mxfp4", "evil"])
def test_quantized_weights_are_refused(base: Path, method: str) -> None:
    edit(base / CONFIG, quantization_config={"quant_method": method})
    for load in ASKED.values():
        refused(load, base, "quantized")


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation", "experts_implementation"])
@pytest.mark.parametrize("named", ["kernels-community/evil", "flash_attention_2", "evil/evil@main:run"])
def test_a_folder_does_not_choose_its_kernels(base: Path, key: str, named: str) -> None:
    edit(base / CONFIG, **{key: named})
    for load in ASKED.values():
        load(base)
    engine = LocalEngine.load(base, device="cpu")
    assert engine.model.config._attn_implementation == "sdpa"
