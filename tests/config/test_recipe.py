from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.config.builtin import model_path, source_path
from solon.config.loading import differences, differences_between, dump_recipe, load_recipe, refuse_partial_model_change
from solon.config.recipe import (
    LoraSettings,
    ModelSettings,
    NetworkSharing,
    Recipe,
    RevisionsUsed,
    Schedule,
    TrainingSettings,
    WeakJudge,
)
from solon.errors import ModelError, RecipeError


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text("name: base\nseed: 3\nrl:\n  steps: 7\n  kl_coef: 0.1\n")
    return path


def test_file_overlays_and_settings_win_in_that_order(base: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("rl: {steps: 8, epochs: 5}\nseed: 4\n")
    second.write_text("rl: {epochs: 6}\n")
    recipe = load_recipe(base, [first, second], ["rl.epochs=9", "finetune.training.learning_rate=1e-4"])
    assert (recipe.name, recipe.seed) == ("base", 4)
    assert (recipe.rl.steps, recipe.rl.kl_coef, recipe.rl.epochs) == (8, 0.1, 9)
    assert recipe.finetune.training.learning_rate == 1e-4
    assert recipe.rl.clip_ratio == Recipe().rl.clip_ratio


def test_settings_reach_into_what_is_null_and_back(base: Path) -> None:
    recipe = load_recipe(base, settings=["rl.lora.rank=4"])
    assert recipe.rl.lora == LoraSettings(rank=4)
    assert load_recipe(base, settings=["rl.lora.rank=4", "rl.lora=null"]).rl.lora is None
    assert load_recipe(base, settings=["rl.lora={rank: 2, alpha: 8}"]).rl.lora == LoraSettings(rank=2, alpha=8.0)


def test_a_settings_value_may_hold_an_equals_sign(base: Path) -> None:
    assert load_recipe(base, settings=["name=a=b"]).name == "a=b"


def test_the_published_values_are_laid_over_a_recipe() -> None:
    plain, published = load_recipe("testbed").rl, load_recipe("testbed", ["bai22"]).rl
    assert (published.kl_coef, published.epochs, published.clip_score) == (0.001, 1, None)
    assert published.sampling.max_tokens == 128 and published.red_team_share == 0.525
    assert (published.steps, published.gae_lambda) == (plain.steps, plain.gae_lambda), "what is not published stays"


def test_the_overlay_for_little_memory_shares_one_backbone() -> None:
    recipe = load_recipe("real", ["shared-backbone"])
    assert recipe.rl.networks is NetworkSharing.SHARED and recipe.rl.steps == 20
    assert recipe.finetune.training.lora and recipe.preference.training.lora, "both are LoRA, as `real` says"
    assert recipe.rl.sampling.top_p == 1, "an overlay keeps what it does not name"


UNKNOWN = [
    ("rl:\n  stepz: 3\n", 2, "unknown setting 'rl.stepz'. Did you mean 'rl.steps'?"),
    ("sead: 3\n", 1, "unknown setting 'sead'. Did you mean 'seed'?"),
    ("learning_rate: 3\n", 1, "Did you mean 'finetune.training.learning_rate'?"),
    ("finetune:\n  training:\n    lora:\n      rnk: 3\n", 4, "Did you mean 'finetune.training.lora.rank'?"),
    ("zzz: 3\n", 1, "Known: name, seed"),
]


@pytest.mark.parametrize(("text", "line", "cause"), UNKNOWN)
def test_an_unknown_key_is_refused_with_place_and_nearest_name(
    tmp_path: Path, text: str, line: int, cause: str
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert caught.value.place == f"{path}:{line}"
    assert cause in str(caught.value)


def test_an_unknown_key_of_an_overlay_or_setting_names_that_one(base: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("\n\npairs: {samplin: {}}\n")
    with pytest.raises(RecipeError, match=rf"^{overlay}:3: unknown setting 'pairs\.samplin'\. Did you mean 'pairs\."):
        load_recipe(base, [overlay])
    with pytest.raises(
        RecipeError, match=r"^--set rl\.kl_cof=1: unknown setting 'rl\.kl_cof'\. Did you mean 'rl\.kl_coef'\?"
    ):
        load_recipe(base, settings=["rl.kl_cof=1"])


BAD = [
    ("rl.steps=0", "'rl.steps' is 0: input should be greater than or equal to 1"),
    ("rl.steps=many", "'rl.steps' is 'many': input should be a valid integer"),
    ("rl.steps=1.5", "'rl.steps' is 1.5: "),
    ("rl.red_team_share=2", "'rl.red_team_share' is 2: input should be less than or equal to 1"),
    ("finetune.revisions=some", "'finetune.revisions' is 'some': value error, must be 'all', 'last', or how many"),
    ("rl=3", "'rl' is 3: "),
    ("feedback.axes.foo=nan", "'feedback.axes' is a group of settings: input should be a valid number"),
    ("name={a: 1}", "'name' is a group of settings: input should be a valid string"),
    ("rl.steps", "a setting is written key=value"),
    ("rl..steps=3", "a setting is written key=value"),
    ("=3", "a setting is written key=value"),
    ("rl.steps=[", "the value of 'rl.steps' is broken YAML"),
]


@pytest.mark.parametrize(("setting", "cause"), BAD)
def test_a_bad_value_is_named_with_its_dotted_path(base: Path, setting: str, cause: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(base, settings=[setting])
    assert str(caught.value).startswith(f"--set {setting}: {cause}")
    assert "\n" not in str(caught.value)


def test_a_bad_value_in_a_file_is_named_with_its_line(base: Path) -> None:
    base.write_text(base.read_text().replace("kl_coef: 0.1", "kl_coef: -1"))
    with pytest.raises(RecipeError, match=rf"^{base}:5: 'rl.kl_coef' is -1: input should be greater"):
        load_recipe(base)


@pytest.mark.parametrize(
    ("text", "line", "cause"),
    [
        ("seed: 1\nname: [\n", 3, "broken YAML near the key 'name'"),
        ("seed: 1\nseed: 2\n", 2, "duplicate key 'seed' in the recipe, first in line 1"),
        ("rl:\n  ? [a]\n  : 1\n", 2, "a key of 'rl' is not a plain word"),
        ("name: !!python/name:os.system\n", 1, "the value of 'name' cannot be read"),
        ("rl: &loop\n  lora: *loop\n", 1, "nested too deep"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, line: int, cause: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert caught.value.place == f"{path}:{line}"
    assert cause in str(caught.value)


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such recipe"):
        load_recipe(tmp_path / "none.yaml")


trainings = st.builds(
    TrainingSettings,
    learning_rate=st.floats(1e-9, 10),
    batch_size=st.integers(1, 10**6),
    schedule=st.sampled_from(Schedule),
    lora=st.one_of(st.none(), st.builds(LoraSettings, rank=st.integers(1, 99), alpha=st.floats(0.1, 99))),
)
recipes = st.builds(
    Recipe,
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    seed=st.integers(0, 2**63),
    finetune=st.builds(lambda training: Recipe().finetune.model_copy(update={"training": training}), trainings),
)


@given(recipes)
def test_dump_and_load_give_the_same_recipe(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8", newline="")
    assert load_recipe(path) == recipe


def test_differences_name_setting_old_and_new(base: Path) -> None:
    old = load_recipe(base)
    new = load_recipe(base, settings=["seed=9", "rl.steps=8", "rl.lora.rank=4"])
    assert differences(old, old) == []
    assert differences(old, new) == [
        ("seed", 3, 9),
        ("rl.steps", 7, 8),
        ("rl.lora", None, {"rank": 4, "alpha": 32.0}),
    ]


def test_differences_of_keys_that_one_side_lacks() -> None:
    old, new = {"a": {"b": 1}, "c": 2}, {"a": {"b": 1, "d": 3}}
    assert differences_between(old, new) == [("a.d", None, 3), ("c", 2, None)]


@pytest.mark.parametrize("given", ["all", "last", 1, 4])
def test_the_revisions_used_are_words_or_a_number_of_steps(base: Path, tmp_path: Path, given: str | int) -> None:
    recipe = load_recipe(base, settings=[f"finetune.revisions={given}"])
    assert recipe.finetune.revisions == (given if isinstance(given, int) else RevisionsUsed(given))
    written = tmp_path / "written.yaml"
    written.write_text(dump_recipe(recipe))
    assert load_recipe(written) == recipe


@pytest.mark.parametrize("given", ["first", "0", "-1", "true", "1.5", "[1]"])
def test_other_revisions_are_refused_with_what_is_possible(base: Path, given: str) -> None:
    with pytest.raises(RecipeError, match=r"^--set finetune\.revisions=.*must be 'all', 'last', or how many") as caught:
        load_recipe(base, settings=[f"finetune.revisions={given}"])
    assert "'finetune.revisions' is" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "form", "bounds"),
    [
        ("by-form", "reasoned", (0.4, 0.6)),
        ("by-form", "letter", None),
        ("off", "reasoned", None),
        ("null", "reasoned", None),
        ("[0.2, 0.8]", "letter", (0.2, 0.8)),
        ("[0, 1]", "letter", (0.0, 1.0)),
    ],
)
def test_labels_are_clamped_by_form_by_bounds_or_not_at_all(
    base: Path, tmp_path: Path, given: str, form: str, bounds: tuple[float, float] | None
) -> None:
    recipe = load_recipe(base, settings=[f"feedback.clamp={given}", f"feedback.form={form}"])
    assert recipe.feedback.bounds == bounds
    written = tmp_path / "written.yaml"
    written.write_text(dump_recipe(recipe))
    assert load_recipe(written) == recipe


@pytest.mark.parametrize(
    "given", ["on", "0.4", "[0.4]", "[0.3, 0.6]", "[0.6, 0.4]", "[-0.1, 1.1]", "[.nan, 0.6]", "[a, b]"]
)
def test_bounds_that_would_depend_on_what_a_reply_is_called_are_refused(base: Path, given: str) -> None:
    with pytest.raises(RecipeError, match=r"'feedback\.clamp' is .*equally far from one half"):
        load_recipe(base, settings=[f"feedback.clamp={given}"])


def test_several_judges_are_a_list_and_none_is_the_assistant(base: Path) -> None:
    assert load_recipe(base).models.judges == (None,)
    assert load_recipe(base, settings=["models.feedback=one"]).models.judges == ("one",)
    assert load_recipe(base, settings=["models.feedback=[one, two]"]).models.judges == ("one", "two")
    for wrong in ("[]", "[one, one]", "[1]", "3", "{a: b}"):
        with pytest.raises(RecipeError, match="must be a model, or a list of different models"):
            load_recipe(base, settings=[f"models.feedback={wrong}"])


def test_the_recipes_of_the_testbed_keep_their_labels_unclamped() -> None:
    for name in ("testbed", "without-privacy", "real"):
        settings = load_recipe(name).feedback
        assert (settings.bounds, settings.samples, settings.axes) == (None, 1, None)


def test_a_held_out_preference_model_is_given_or_trained_not_both() -> None:
    with pytest.raises(RecipeError, match=r"rl.*held_out_scorer.*held_out_share"):
        load_recipe("testbed", settings=["rl.held_out_scorer=pm", "rl.held_out_share=0.5"])
    with pytest.raises(RecipeError, match=r"rl\.held_out_share"):
        load_recipe("testbed", settings=["rl.held_out_share=1"])


def test_one_model_plays_all_parts_that_are_not_named() -> None:
    recipe = load_recipe("own", [], ["model=models/mine", "models.feedback=models/judge"])
    assert (recipe.models.pretrained, recipe.models.assistant) == ("models/mine", "models/mine")
    assert recipe.models.feedback == "models/judge"
    assert recipe.models.preference is None, "follows the pretrained model"
    assert recipe.model is None, "it is spelled out"
    assert recipe == load_recipe("own", [], ["models.feedback=models/judge", "model=models/mine"])


def test_one_word_replaces_the_main_model_of_the_recipe_real(tmp_path: Path) -> None:
    small, large = "fetched:smollm2-135m", "fetched:qwen2.5-coder-1.5b"
    others = {"critic": large, "feedback": large}
    assert load_recipe("real").models == ModelSettings(pretrained=small, assistant=small, **others)
    mine = load_recipe("real", [], ["model=models/mine"])
    assert mine.models == ModelSettings(pretrained="models/mine", assistant="models/mine", **others)
    # A run's own recipe names both, and still one word replaces them.
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(mine))
    assert load_recipe(file) == mine
    assert load_recipe(file, [], ["model=models/other"]).models.pretrained == "models/other"


def test_a_part_that_is_named_beside_the_model_overrides_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model: models/base\nmodels: {assistant: models/chat}\n")
    assert load_recipe(file).models == ModelSettings(pretrained="models/base", assistant="models/chat")
    assert Recipe(model="a", models=ModelSettings(assistant="b")).models == ModelSettings(pretrained="a", assistant="b")


@pytest.mark.parametrize("value", ["3", "[a, b]", "{a: b}"])
def test_a_model_that_is_no_name_is_refused(value: str) -> None:
    with pytest.raises(RecipeError, match=r"--set model=.*: 'model' is "):
        load_recipe("own", [], [f"model={value}"])


def test_one_main_model_alone_is_refused_over_a_built_in_recipe_with_the_setting_for_both() -> None:
    def check(name: str, *settings: str) -> None:
        refuse_partial_model_change(name, (), settings, load_recipe(name, (), settings))

    with pytest.raises(RecipeError, match=r"SL-CAI still starts from 'fetched:smollm2-135m'.*--set model=mine"):
        check("real", "models.assistant=mine")
    with pytest.raises(RecipeError, match=r"'testbed:assistant' still answers.*--set model=mine"):
        check("testbed", "models.pretrained=mine")
    check("real", "model=mine")
    check("real", "model=mine", "models.assistant=chat")
    check("testbed", "models.pretrained=a", "models.assistant=b")
    check("real", "models.critic=mine")


def test_half_a_change_of_a_recipe_of_ones_own_is_deliberate(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model: models/base\n")
    settings = ("models.assistant=models/chat",)
    refuse_partial_model_change(file, (), settings, load_recipe(file, (), settings))


def test_the_recipe_own_names_nothing_that_does_not_come_with_solon() -> None:
    recipe = load_recipe("own")
    named = [recipe.prompts.red_team, recipe.prompts.helpful, recipe.measure.harmful, recipe.measure.benign]
    assert all(source_path(name).is_file() for name in named)
    assert recipe.preference.human_helpfulness is None
    assert recipe.judge_check.weak_judge is WeakJudge.STOP
    with pytest.raises(ModelError, match=r"the recipe names no model.*--set model=FOLDER"):
        model_path(recipe.models.assistant)
