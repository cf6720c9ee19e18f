"""The exported folder: prompts that TRL loads, models that need nothing of Solon, the recipe's settings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file
from tests.export.trainers.made import CHAT, KINDS, LONG, RL, finished, without_solon
from tests.training.tiny import asked
from transformers import AutoModelForCausalLM, AutoTokenizer

from solon.config.recipe import EngineSettings, RenderingKind
from solon.engines.tokens import PromptTokenizer
from solon.errors import RunError
from solon.export.trainers.trainer_folder import export_for_trl
from solon.export.trainers.trl import TRL_VERSION, StepShape, step_shape
from solon.rl.rollout import PromptDraws
from solon.runs import RunDirectory
from solon.runs.rows import PromptRow
from solon.training.encoding import Encoding


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return finished(tmp_path_factory.mktemp("made") / "made")


@pytest.fixture(scope="module")
def folder(run: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_for_trl(run, tmp_path_factory.mktemp("exported") / "out").folder


def json_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def given(folder: Path, environment: dict[str, str] | None = None) -> list[str]:
    """What launch.sh would start, word by word."""
    script = (folder / "launch.sh").read_text()
    printing = [line.replace("exec ", "printf '%s\\n' ") for line in script.splitlines()]
    copy = folder / "launch-printed.sh"
    copy.write_text("\n".join(printing) + "\n")
    try:
        done = subprocess.run(["bash", copy], capture_output=True, text=True, check=True, env=environment)
    finally:
        copy.unlink()
    return done.stdout.splitlines()


def test_the_schedule_is_what_stage_08_draws(folder: Path) -> None:
    rows = json_lines(folder / "prompts" / "train.jsonl")
    assert len(rows) == RL.steps * 4, "half the recipe's prompts, with two replies each"
    of_step = [rows[start : start + 4] for start in (0, 4)]
    assert [[row["kind"] for row in step] for step in of_step] == [["red_team"] * 3 + ["helpful"]] * 2
    drawn = [PromptDraws([5, 3], [0.75, 0.25], 4, 3).at(step) for step in range(2)]
    names = {}
    for step, wanted in zip(of_step, drawn, strict=True):
        for row, place in zip(step, wanted, strict=True):
            assert names.setdefault(place, row["row_id"]) == row["row_id"], "one place is one prompt, in every step"
    assert len(names) == len(set(names.values())) == len({place for step in drawn for place in step})


def test_every_prompt_of_a_kind_is_drawn_in_time(run: RunDirectory, tmp_path: Path) -> None:
    rows = json_lines(export_for_trl(run, tmp_path / "out", steps=4).folder / "prompts" / "train.jsonl")
    for kind in ("red_team", "helpful"):
        assert len({row["row_id"] for row in rows if row["kind"] == kind}) == KINDS[kind]


def test_held_out_and_over_long_prompts_are_not_trained_on(run: RunDirectory, tmp_path: Path) -> None:
    done = export_for_trl(run, tmp_path / "out", steps=5)
    training = json_lines(done.folder / "prompts" / "train.jsonl")
    held_out = json_lines(done.folder / "prompts" / "held-out.jsonl")
    assert (done.training, done.held_out) == (len(training), len(held_out)) == (5 * 4, 8)
    assert {row["kind"] for row in training} == {"red_team", "helpful"}
    assert not {row["row_id"] for row in training} & {row["row_id"] for row in held_out}
    assert done.excluded == {"too long": 1, "other tokens through the chat template": 0}
    assert LONG not in (done.folder / "prompts" / "train.jsonl").read_text()


@pytest.mark.parametrize("template", [None, CHAT], ids=["transcript", "chat"])
def test_the_policys_template_writes_what_the_policy_was_trained_to_read(template: str | None, tmp_path: Path) -> None:
    run = finished(tmp_path / "made", template=template)
    done = export_for_trl(run, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(done.folder / "policy")
    texts = PromptTokenizer.of(tokenizer, EngineSettings(rendering=RenderingKind.AUTO))
    encoding = Encoding(texts, 128)
    stage = run.finished("prompts")
    assert stage is not None
    by_id = {row.row_id: row.prompt for row in stage.rows(PromptRow)}
    for row in json_lines(done.folder / "prompts" / "train.jsonl"):
        ids = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        assert tuple(ids) == encoding.prompts([by_id[str(row["row_id"])]])[0]
    model = AutoModelForCausalLM.from_pretrained(done.folder / "policy")
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id]
    assert model.generation_config.temperature is None or model.generation_config.temperature == 1.0


def test_a_special_token_that_somebody_spelled_out_stays_words(tmp_path: Path) -> None:
    run = finished(tmp_path / "made", template=CHAT, spelled="say <|end|> now ?")
    done = export_for_trl(run, tmp_path / "chat")
    assert done.excluded["other tokens through the chat template"] == 0
    prompts = [row["prompt"] for row in json_lines(done.folder / "prompts" / "train.jsonl")]
    assert asked("say < |end|> now ?") in prompts
    run = finished(tmp_path / "transcripts", spelled="say <|end|> now ?")
    done = export_for_trl(run, tmp_path / "transcript")
    assert done.excluded["other tokens through the chat template"] == 0


def test_the_check_passes_where_there_is_no_solon(folder: Path) -> None:
    done = without_solon(folder, sys.executable, "check_folder.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "passed"


def test_the_check_fails_when_weights_or_templates_were_changed(run: RunDirectory, tmp_path: Path) -> None:
    folder = export_for_trl(run, tmp_path / "out").folder
    weights = load_file(folder / "preference-model" / "model.safetensors")
    weights["score.weight"] += 1e-3
    save_file(weights, folder / "preference-model" / "model.safetensors", {"format": "pt"})
    template = folder / "policy" / "chat_template.jinja"
    template.write_text(template.read_text().replace("Assistant:", "Assistant: "))
    done = without_solon(folder, sys.executable, "check_folder.py")
    assert done.returncode == 1 and "16 golden prompts: 0 read the same" in done.stdout, done.stdout + done.stderr
    gaps = [float(found) for found in re.findall(r"largest difference (\S+)", done.stdout)]
    assert len(gaps) == 3 and min(gaps) > 1e-4 and "FAILED" in done.stdout
    assert run.finished("preference-model") is not None, "the run keeps its own weights, whatever becomes of the copy"


def test_config_and_launch_script_hold_the_recipes_settings(folder: Path) -> None:
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    assert settings["beta"] == 0.03 and settings["num_generations"] == 2
    assert settings["adam_epsilon"] == 1e-5 and settings["normalize_advantages"] is True
    assert settings["generation_batch_size"] == 8 and settings["max_steps"] == 4
    words = given(folder, {"PATH": "/usr/bin:/bin", "GPUS": "0"})
    assert words[words.index("--gradient_accumulation_steps") + 1] == "1"
    assert words[words.index("--per_device_train_batch_size") + 1] == "4"
    refused = subprocess.run(
        ["bash", folder / "launch.sh"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "GPUS": "3"},
    )
    assert refused.returncode == 2 and "cannot be divided among 3 processes" in refused.stderr


@pytest.mark.parametrize(
    ("prompts", "samples", "minibatches", "wanted"),
    [
        (64, 1, 4, StepShape(32, 2, 8)),
        (10, 1, 4, StepShape(8, 2, 2)),
        (6, 4, 4, StepShape(8, 4, 2)),
        (1, 1, 4, StepShape(4, 2, 1)),
    ],
)
def test_a_step_is_never_smaller_than_the_recipes(
    prompts: int, samples: int, minibatches: int, wanted: StepShape
) -> None:
    asked_for = {"prompts_per_step": prompts, "samples_per_prompt": samples, "minibatches": minibatches}
    shape = step_shape(RL.model_copy(update=asked_for))
    assert shape == wanted
    assert shape.replies >= prompts * samples and shape.minibatches == minibatches
    assert shape.update * shape.minibatches == shape.replies


def test_the_readme_names_what_is_there_and_no_folder_of_the_machine(run: RunDirectory, folder: Path) -> None:
    text = (folder / "README.md").read_text()
    assert TRL_VERSION in text and run.constitution.hash in text and "1 too long" in text and "\n\n\n" not in text
    for file in folder.iterdir():
        assert f"`{file.name}" in text or file.name in ("README.md", "__pycache__"), file
        if file.is_file() and file.suffix != ".sh":
            assert str(run.path.parent) not in file.read_text(), file


def test_a_full_folder_and_an_unfinished_run_are_refused(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(RunError, match="the folder is not empty"):
        export_for_trl(run, tmp_path / "full")
    bare = RunDirectory.create(tmp_path / "bare", run.recipe, run.path / "constitution.yaml")
    with pytest.raises(RunError, match=r"'prompts' is not finished.* solon run .* --until preference-model"):
        export_for_trl(bare, tmp_path / "out")
    assert not (tmp_path / "out").exists()
