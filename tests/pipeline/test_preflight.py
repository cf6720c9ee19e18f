"""What is looked at before the first token: models, servers, files, the constitution, memory; and what is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.training.tiny import save_tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from solon.config.builtin import constitution_path
from solon.config.loading import load_recipe
from solon.errors import EngineError, InputError, ModelError, RecipeError, SolonError
from solon.model_folders.system_memory import SystemMemory
from solon.pipeline import run_memory
from solon.pipeline.memory_needs import ASKING
from solon.pipeline.preflight import preflight
from solon.runs.directory import MOST_STAGES
from solon.stages.plan import names_of


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def look(*settings: str, recipe: str = "testbed", until: str | None = None) -> tuple[str, ...]:
    asked = load_recipe(recipe, (), settings)
    return preflight(asked, constitution_path(asked.constitution), until=until)


def changed(model: Path, folder: Path, **config: object) -> Path:
    """A copy of the model with other entries in config.json."""
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    known = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**known, **config}))
    return folder


def test_the_built_in_run_is_fit_and_says_who_plays_what() -> None:
    assert look() == ("Models: assistant testbed:assistant, pretrained testbed:pretrained.",)


def test_one_model_is_said_once(model: Path) -> None:
    assert look(f"model={model}", recipe="own")[0] == f"Models: {model} for every part."
    named = look(f"model={model}", "models.feedback=testbed:assistant", recipe="own")[0]
    assert named == f"Models: assistant {model}, pretrained {model}, feedback testbed:assistant."


def test_a_model_in_half_precision_is_said_to_come_back_in_float32(model: Path, tmp_path: Path) -> None:
    half = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    half.save_pretrained(tmp_path / "half")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "half")
    told = look(f"model={tmp_path / 'half'}", recipe="own")
    assert f"{tmp_path / 'half'} is stored in bfloat16; each model trained from it is saved in float32 (1 MB)." in told


def test_a_weak_judge_that_is_accepted_is_said_at_the_start() -> None:
    told = look("judge_check.weak_judge=accept")
    assert any("A judge that is no better than chance is accepted" in line for line in told)
    assert not any("chance" in line for line in look("judge_check.weak_judge=accept", until="sl-cai"))


@pytest.mark.parametrize(
    ("setting", "stage"),
    [
        ("models.critic", "critique-revision"),
        ("models.reviser", "critique-revision"),
        ("models.feedback", "ai-feedback"),
        ("models.preference", "preference-model"),
        ("rl.scorer", "rl-cai"),
        ("rl.held_out_scorer", "rl-cai"),
    ],
)
def test_every_model_is_looked_at_that_the_stages_to_come_will_open(
    setting: str, stage: str, model: Path, tmp_path: Path
) -> None:
    damaged = changed(model, tmp_path / "damaged")
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ModelError, match="may be cut off") as told:
        look(f"{setting}={damaged}")
    assert str(told.value).startswith(f"{setting}: {weights}: ")
    # Stages that are not wanted need no model, though a scorer's folder must be one.
    look(f"{setting}={damaged}", until="responses")


def test_a_second_judge_is_named_by_its_place(model: Path) -> None:
    with pytest.raises(ModelError, match=r"^models\.feedback \(2\): /nowhere: no such model folder") as told:
        look(f"models.feedback=[{model}, /nowhere]")
    assert "testbed:assistant" in str(told.value)


def test_a_model_without_tokenizer_is_refused(model: Path, tmp_path: Path) -> None:
    bare = changed(model, tmp_path / "bare")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).unlink()
    with pytest.raises(ModelError, match=r"^model: .*cannot load the tokenizer"):
        look(f"model={bare}", recipe="own")


def test_an_architecture_that_cannot_play_the_part_is_refused_by_name(model: Path, tmp_path: Path) -> None:
    strange = changed(model, tmp_path / "strange", model_type="solonette", auto_map={"AutoConfig": "x.Y"})
    with pytest.raises(
        ModelError, match=r"model type 'solonette' as a causal language model, and the code .* never run"
    ):
        look(f"model={strange}", recipe="own")
    reader = changed(model, tmp_path / "reader", model_type="codegen")
    with pytest.raises(ModelError, match=r"^models\.preference: .*'codegen' as a preference model"):
        look(f"models.preference={reader}")


def test_a_language_model_is_no_scorer(model: Path) -> None:
    with pytest.raises(ModelError, match=r"^rl\.scorer: .*exactly one label.*preference-model"):
        look(f"rl.scorer={model}")


def test_a_preference_model_writes_and_judges_nothing(model: Path, tmp_path: Path) -> None:
    scorer = changed(model, tmp_path / "scorer", architectures=["GPTNeoXForSequenceClassification"])
    for setting in ("models.critic", "models.feedback", "models.pretrained"):
        with pytest.raises(
            ModelError, match=rf"^{setting}: .*\(GPTNeoXForSequenceClassification\), and no language model"
        ):
            look(f"{setting}={scorer}")


def test_chat_without_a_template_is_refused(model: Path) -> None:
    with pytest.raises(ModelError, match=r"^model: .*no chat template.*engine\.rendering=transcript"):
        look(f"model={model}", "engine.rendering=chat", recipe="own")


def test_a_server_that_does_not_answer_is_told_at_once() -> None:
    with pytest.raises(EngineError, match=r"^http://127\.0\.0\.1:9: the scorer does not answer.*solon serve-pm"):
        look("rl.scorer=http://127.0.0.1:9")
    look("rl.scorer=http://127.0.0.1:9", until="preference-model")


@pytest.mark.parametrize(
    ("setting", "error", "says"),
    [
        ("prompts.red_team=/none.jsonl", InputError, r"^prompts\.red_team: /none\.jsonl: no such prompt file"),
        ("measure.benign=/none.jsonl", InputError, r"^measure\.benign: /none\.jsonl: no such prompt file"),
        ("preference.human_helpfulness=/none.jsonl", InputError, r"^/none\.jsonl: no such prompt file"),
        ("revision.few_shot=99", RecipeError, "99 worked critiques are asked for"),
        ("feedback.few_shot=99", RecipeError, "99 reasoned comparisons are asked for"),
        ("preference.axis=kindness", RecipeError, r"which gets no labels.*feedback\.axes\.kindness=1"),
        ("revision.choose_by=[kind]", RecipeError, r"no preference principle 'kind'.*choose_by=null"),
        ("finetune.revisions=9", RecipeError, "the first 9 revisions are asked for"),
        ("feedback.clamp=by-form", RecipeError, r"clamped to 0\.4-0\.6.*none would be learned from.*least_margin=0"),
        ("rl.sampling.temperature=0", RecipeError, "temperature 0 does not sample"),
        ("rl.trackers=[wandb]", RecipeError, r"'wandb' is not installed.*solon\[wandb\]"),
    ],
)
def test_files_constitution_and_settings_are_looked_at(setting: str, error: type[SolonError], says: str) -> None:
    with pytest.raises(error, match=says):
        look(setting)


def test_rounds_without_end_are_refused_before_the_run_begins() -> None:
    look("rounds=23", until="prompts")
    with pytest.raises(RecipeError, match=r"^rounds: the run would have 101 stages, and a run has 98 at most"):
        look("rounds=24", until="prompts")
    assert len(names_of(load_recipe("testbed", (), ["rounds=23"]))) <= MOST_STAGES


def test_comparisons_are_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "people.jsonl"
    good = {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: No"}
    file.write_text(f"{json.dumps(good)}\n{{broken\n")
    with pytest.raises(InputError, match=rf"^{file}:2: "):
        look(f"preference.human_helpfulness={file}")


def test_comparisons_are_read_by_the_columns_that_the_recipe_names(tmp_path: Path) -> None:
    own, other = tmp_path / "own.jsonl", tmp_path / "usual.jsonl"
    own.write_text(json.dumps({"question": "Hi", "good": "Hello", "bad": "No"}) + "\n")
    other.write_text(json.dumps({"prompt": "Hi", "chosen": "Hello", "rejected": "No"}) + "\n")
    columns = "preference.columns={prompt: question, chosen: good, rejected: bad}"
    look(f"preference.human_helpfulness={own}", f"preference.human_harmlessness={other}", columns)
    with pytest.raises(InputError, match="'chosen' or 'rejected' is missing"):
        look(f"preference.human_helpfulness={own}")
    with pytest.raises(InputError, match="no row has the column 'question'"):
        look(f"preference.human_helpfulness={other}", columns)


def test_comparisons_are_read_as_each_stage_reads_them(tmp_path: Path) -> None:
    own, other = tmp_path / "own.jsonl", tmp_path / "usual.jsonl"
    own.write_text(json.dumps({"question": "Hi", "chosen": "Hello", "rejected": "No"}) + "\n")
    other.write_text(json.dumps({"prompt": "Hi", "chosen": "Hello", "rejected": "No"}) + "\n")
    files = [f"preference.human_helpfulness={other}", f"preference.human_harmlessness={own}"]
    settings = [*files, "preference.columns={prompt: question}", "rl.algorithm=dpo"]
    look(*settings)
    settings.append("rl.dpo.human_weight=1")
    # DPO learns from the helpfulness comparisons alone, and these have no such column.
    with pytest.raises(InputError, match="no row has the column 'question'"):
        look(*settings)
    look(*settings, until="preference-model")
    # Nothing learns from comparisons of no weight, but a file that is missing is one.
    other.write_text("{broken\n")
    look(files[0], "preference.human_weight=0")


def test_a_model_that_does_not_fit_is_refused_for_the_stages_that_need_it(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tiny model has some 27,000 parameters: 0.1 MB to read, 0.4 MB to train with an adapter.
    monkeypatch.setattr(run_memory, "system_memory", lambda: SystemMemory(total=500_000, free=500_000))
    with pytest.raises(RecipeError, match=r"^memory: reinforcement learning needs .*--set rl\.networks=shared"):
        look(f"model={model}", recipe="own")
    look(f"model={model}", recipe="own", until="preference-model")
    monkeypatch.setattr(run_memory, "system_memory", lambda: SystemMemory(total=10**9, free=300_000))
    assert any("close other programs" in line for line in look(f"model={model}", recipe="own"))


def test_models_that_are_asked_elsewhere_need_no_memory_here(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, constitution = load_recipe("testbed"), constitution_path("testbed")
    monkeypatch.setattr(run_memory, "system_memory", lambda: SystemMemory(total=1000, free=1000))
    with pytest.raises(RecipeError, match=r"^memory: asking"):
        preflight(recipe, constitution, until="responses")
    assert preflight(recipe, constitution, until="responses", elsewhere=[ASKING])
    with pytest.raises(RecipeError, match=r"^memory: finetuning"):
        preflight(recipe, constitution, until="sl-cai", elsewhere=[ASKING])


def test_nothing_is_looked_at_where_everything_is_done() -> None:
    recipe = load_recipe("testbed", (), ["models.feedback=/nowhere"])
    done = ["prompts", "responses", "critique-revision", "sl-cai", "response-pairs", "ai-feedback"]
    constitution = constitution_path("testbed")
    preflight(recipe, constitution, done)
    assert preflight(recipe, constitution, (), until="prompts")
    every = [*done, "preference-model", "rl-cai", "measure"]
    assert preflight(recipe, Path("/nowhere"), every) == ()
