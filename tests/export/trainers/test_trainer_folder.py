"""A hand-off: prompts that others load, models that stand on their own, settings that say what the recipe says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tests.export.trainers.made import CHAT, KINDS, LONG, RL, alone, finished
from tests.training.tiny import asked
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, AutoTokenizer

from solon.config.recipe import EngineSettings, RenderingKind
from solon.engines.tokens import PromptTokenizer
from solon.errors import RunError
from solon.export.trainers.trainer_folder import TRAINERS, export_handoff
from solon.export.trainers.trainer_plan import Plan, StepShape, step_shape
from solon.rl.rollout import draw_prompts
from solon.runs import RunDirectory
from solon.runs.rows import PromptRow
from solon.training.encoding import Encoding


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return finished(tmp_path_factory.mktemp("handoff") / "made")


@pytest.fixture(scope="module")
def folders(run: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("exported")
    return {name: export_handoff(run, trainer, out / name).folder for name, trainer in TRAINERS.items()}


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


def test_the_schedule_is_what_stage_08_draws(folders: dict[str, Path]) -> None:
    rows = json_lines(folders["openrlhf"] / "prompts" / "train.jsonl")
    assert len(rows) == RL.steps * RL.prompts_per_step
    by_kind = [sorted({row["row_id"] for row in rows if row["datasource"] == kind}) for kind in ("red_team", "helpful")]
    assert [len(ids) for ids in by_kind] == [KINDS["red_team"], KINDS["helpful"]]
    of_step = [rows[start : start + 8] for start in (0, 8)]
    assert [[row["datasource"] for row in step] for step in of_step] == [["red_team"] * 6 + ["helpful"] * 2] * 2
    drawn = [draw_prompts([5, 3], [0.75, 0.25], 8, step, 3) for step in range(2)]
    names = {}
    for step, wanted in zip(of_step, drawn, strict=True):
        for row, place in zip(step, wanted, strict=True):
            assert names.setdefault(place, row["row_id"]) == row["row_id"], "one place is one prompt, in every step"
    assert len(names) == 8


def test_prompts_load_in_each_trainers_form(folders: dict[str, Path]) -> None:
    datasets = pytest.importorskip("datasets")
    openrlhf = datasets.load_dataset("json", data_files=str(folders["openrlhf"] / "prompts" / "train.jsonl"))["train"]
    assert openrlhf[0]["input"] == json.loads(openrlhf[0]["label"]) and openrlhf[0]["input"][-1]["role"] == "user"
    verl = datasets.load_dataset("parquet", data_files=str(folders["verl"] / "prompts" / "train.parquet"))["train"]
    assert verl[0]["prompt"] == json.loads(verl[0]["extra_info"]["prompt"])
    assert verl[0]["reward_model"]["ground_truth"] == "" and verl[0]["data_source"].startswith("solon/")
    assert pq.read_table(folders["verl"] / "prompts" / "held-out.parquet").num_rows == 8
    trl = datasets.load_dataset("json", data_files=str(folders["trl"] / "prompts" / "train.jsonl"))["train"]
    assert trl[0]["prompt"][0]["role"] == "user"


def test_held_out_and_over_long_prompts_are_not_trained_on(run: RunDirectory, tmp_path: Path) -> None:
    done = export_handoff(run, TRAINERS["trl"], tmp_path / "out", steps=5)
    training = json_lines(done.folder / "prompts" / "train.jsonl")
    held_out = json_lines(done.folder / "prompts" / "held-out.jsonl")
    assert (done.training, done.held_out) == (len(training), len(held_out)) == (5 * 4, 8)
    assert {row["kind"] for row in training} == {"red_team", "helpful"}
    assert not {row["row_id"] for row in training} & {row["row_id"] for row in held_out}
    assert done.left_out == {"too long": 1, "read otherwise by a chat template": 0}
    assert LONG not in (done.folder / "prompts" / "train.jsonl").read_text()


@pytest.mark.parametrize("template", [None, CHAT], ids=["transcript", "chat"])
def test_the_policys_template_writes_what_the_policy_was_trained_to_read(template: str | None, tmp_path: Path) -> None:
    run = finished(tmp_path / "made", template=template)
    done = export_handoff(run, TRAINERS["openrlhf"], tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(done.folder / "policy")
    texts = PromptTokenizer.of(tokenizer, EngineSettings(rendering=RenderingKind.AUTO))
    encoding = Encoding(texts, 128)
    stage = run.finished("prompts")
    assert stage is not None
    by_id = {row.row_id: row.prompt for row in stage.rows(PromptRow)}
    for row in json_lines(done.folder / "prompts" / "train.jsonl"):
        ids = tokenizer.apply_chat_template(row["input"], add_generation_prompt=True, return_dict=False)
        assert tuple(ids) == encoding.prompts([by_id[str(row["row_id"])]])[0]
    model = AutoModelForCausalLM.from_pretrained(done.folder / "policy")
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id]
    assert model.generation_config.temperature is None or model.generation_config.temperature == 1.0


def test_a_special_token_that_somebody_spelled_out_stays_words(tmp_path: Path) -> None:
    run = finished(tmp_path / "made", template=CHAT, spelled="say <|end|> now ?")
    done = export_handoff(run, TRAINERS["trl"], tmp_path / "chat")
    assert done.left_out["read otherwise by a chat template"] == 0
    prompts = [row["prompt"] for row in json_lines(done.folder / "prompts" / "train.jsonl")]
    assert asked("say < |end|> now ?") in prompts
    run = finished(tmp_path / "transcripts", spelled="say <|end|> now ?")
    done = export_handoff(run, TRAINERS["trl"], tmp_path / "transcript")
    assert done.left_out["read otherwise by a chat template"] == 0


@pytest.mark.parametrize(
    "name", ["openrlhf", *(pytest.param(name, marks=pytest.mark.slow) for name in ("verl", "trl"))]
)
def test_the_check_passes_where_there_is_no_solon(folders: dict[str, Path], name: str) -> None:
    done = alone(folders[name], sys.executable, "check.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "passed"


def test_the_check_fails_when_weights_or_templates_were_changed(run: RunDirectory, tmp_path: Path) -> None:
    folder = export_handoff(run, TRAINERS["openrlhf"], tmp_path / "out").folder
    weights = load_file(folder / "preference-model" / "model.safetensors")
    weights["score.weight"] += 1e-3
    save_file(weights, folder / "preference-model" / "model.safetensors", {"format": "pt"})
    template = folder / "policy" / "chat_template.jinja"
    template.write_text(template.read_text().replace("Assistant:", "Assistant: "))
    done = alone(folder, sys.executable, "check.py")
    assert done.returncode == 1 and "16 golden prompts: 0 read the same" in done.stdout, done.stdout + done.stderr
    gaps = [float(found) for found in re.findall(r"furthest (\S+)", done.stdout)]
    assert len(gaps) == 3 and min(gaps) > 1e-5 and "FAILED" in done.stdout
    assert run.finished("preference-model") is not None, "the run keeps its own weights, whatever becomes of the copy"


def test_openrlhf_is_told_the_recipes_settings(folders: dict[str, Path]) -> None:
    words = given(folders["openrlhf"], {"PATH": "/usr/bin:/bin", "NODES": "2", "GPUS": "2"})
    assert words[:3] == ["python", "-m", "openrlhf.cli.train_ppo_ray"]

    def value(key: str, count: int = 1) -> list[str]:
        place = words.index(f"--{key}")
        return words[place + 1 : place + 1 + count]

    assert value("algo.kl.init_coef") == ["0.03"] and value("algo.advantage.lambd") == ["0.95"]
    assert value("rollout.batch_size") == ["8"] and value("train.batch_size") == ["4"]
    assert value("train.micro_batch_size") == ["1"], "four replies of an update on four GPUs"
    assert value("critic.freezing_steps") == ["0"], "steps count from 0: the policy rests in one of them"
    assert value("actor.adam.lr") == ["0.0001"] and value("actor.adam.betas", 2) == ["0.9", "0.95"]
    assert value("reward.clip_range", 2) == ["-10.0", "10.0"]
    assert value("critic.model_name_or_path") == [str(folders["openrlhf"] / "preference-model")]
    assert value("vllm.num_engines") == ["4"]
    assert words[words.index("--data.apply_chat_template") + 1].startswith("--")


def test_verl_is_told_the_recipes_settings(folders: dict[str, Path]) -> None:
    environment = {"PATH": "/usr/bin:/bin", "GPUS": "1"}
    words = dict(word.split("=", 1) for word in given(folders["verl"], environment)[3:])
    assert words["algorithm.use_kl_in_reward"] == "true" and words["algorithm.kl_ctrl.kl_coef"] == "0.03"
    assert words["data.train_batch_size"] == "8" and words["actor_rollout_ref.actor.ppo_mini_batch_size"] == "4"
    assert words["trainer.critic_warmup"] == "2", "steps count from 1: the policy rests in one of them"
    assert words["actor_rollout_ref.actor.optim.override_optimizer_config"] == "{eps:1.0e-05}"
    assert words["critic.ppo_micro_batch_size_per_gpu"] == "4", "all replies of an update at once"
    assert words["critic.optim.betas"] == "[0.9,0.95]"
    assert words["reward.reward_manager.module.path"] == str(folders["verl"] / "reward_manager.py")


def test_trl_is_told_the_recipes_settings(folders: dict[str, Path]) -> None:
    settings = yaml.safe_load((folders["trl"] / "config.yaml").read_text())
    assert settings["beta"] == 0.03 and settings["num_generations"] == 2
    assert settings["adam_epsilon"] == 1e-5 and settings["normalize_advantages"] is True
    assert settings["generation_batch_size"] == 8 and settings["max_steps"] == 4
    words = given(folders["trl"], {"PATH": "/usr/bin:/bin", "GPUS": "0"})
    assert words[words.index("--gradient_accumulation_steps") + 1] == "1"
    assert words[words.index("--per_device_train_batch_size") + 1] == "4"
    refused = subprocess.run(
        ["bash", folders["trl"] / "launch.sh"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "GPUS": "3"},
    )
    assert refused.returncode == 2 and "cannot be shared out evenly to 3 processes" in refused.stderr


@pytest.mark.parametrize(
    ("prompts", "samples", "minibatches", "least", "wanted"),
    [
        (64, 1, 4, 1, StepShape(64, 1, 16)),
        (64, 1, 4, 2, StepShape(32, 2, 8)),
        (10, 1, 4, 1, StepShape(12, 1, 3)),
        (6, 4, 4, 2, StepShape(8, 4, 2)),
        (1, 1, 4, 2, StepShape(4, 2, 1)),
    ],
)
def test_a_step_is_never_smaller_than_the_recipes(
    prompts: int, samples: int, minibatches: int, least: int, wanted: StepShape
) -> None:
    asked_for = {"prompts_per_step": prompts, "samples_per_prompt": samples, "minibatches": minibatches}
    shape = step_shape(RL.model_copy(update=asked_for), least)
    assert shape == wanted
    assert shape.replies >= prompts * samples and shape.minibatches == minibatches
    assert shape.update * shape.minibatches == shape.replies


def test_verl_finds_the_preference_models_head_where_its_value_function_reads(folders: dict[str, Path]) -> None:
    folder = folders["verl"] / "preference-model"
    value = AutoModelForTokenClassification.from_pretrained(folder, num_labels=1)
    assert torch.equal(value.score.weight.data, load_file(folder / "model.safetensors")["score.weight"])
    assert value.score.bias.data.tolist() == [0.0]


@pytest.mark.parametrize(("name", "key"), [("openrlhf", "critic.model_name_or_path"), ("verl", "critic.model.path")])
def test_a_value_function_starts_from_the_policy_where_the_preference_model_has_other_tokens(
    name: str, key: str
) -> None:
    for shared, start in ((True, "$HERE/preference-model"), (False, "$HERE/policy")):
        plan = Plan(RL, 3, 2, StepShape(8, 1, 4), longest_prompt=40, window=128, shared_tokens=shared)
        settings = {each.key: each for each in TRAINERS[name].settings(plan)}
        assert settings[key].value == start and ("other tokens" in settings[key].meaning) is not shared


def test_the_readme_names_what_is_there_and_no_folder_of_the_machine(
    run: RunDirectory, folders: dict[str, Path], tmp_path: Path
) -> None:
    for name, folder in folders.items():
        text = (folder / "README.md").read_text()
        assert (
            TRAINERS[name].version in text
            and run.constitution.hash in text
            and "run on several GPUs" in " ".join(text.split())
        )
        assert "1 too long" in text and "\n\n\n" not in text
        for file in folder.iterdir():
            if file.is_file() and file.suffix != ".sh":
                assert str(run.path.parent) not in file.read_text(), file


def test_what_is_there_is_not_written_over_and_what_is_missing_is_told(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(RunError, match="the folder is not empty"):
        export_handoff(run, TRAINERS["verl"], tmp_path / "full")
    bare = RunDirectory.create(tmp_path / "bare", run.recipe, run.path / "constitution.yaml")
    with pytest.raises(RunError, match=r"'prompts' is not finished.* solon run .* --until preference-model"):
        export_handoff(bare, TRAINERS["verl"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
