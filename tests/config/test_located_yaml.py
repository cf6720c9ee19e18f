"""What plain words of YAML mean, and what is refused of them, in recipes, overlays and settings alike."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from solon.config.loading import load_recipe
from solon.config.located_yaml import Dumper, YamlFile, node_of
from solon.config.recipe import Recipe
from solon.errors import RecipeError

WORDS = [
    ("no", "no"), ("yes", "yes"), ("off", "off"), ("190:20:30", "190:20:30"), ("0777", "0777"), ("0x1F", "0x1F"),
    ("2026-01-01", "2026-01-01"), ("1_000", 1000), ("-3", -3), ("1e-4", 1e-4), ("1.", 1.0), (".5", 0.5), ("true", True),
    ("~", None), ("", None), ("'3'", "3"), ("!!str 3", "3"), ("-.inf", -math.inf), ("=", "="), ("<<", "<<"),
]  # fmt: skip


def value_of(written: str) -> object:
    node = node_of(f"key: {written}", "there", RecipeError)
    assert node is not None
    return YamlFile(Path("there"), RecipeError).value(node, "the whole")["key"]


@pytest.mark.parametrize(("written", "value"), WORDS)
def test_plain_words_mean_what_yaml_1_2_says(written: str, value: object) -> None:
    assert value_of(written) == value and type(value_of(written)) is type(value)


NUMBERS = ["190:20:30", "yes", "true", "'3'", "0777", "0x10", "1.0", "2026-01-01"]


@pytest.mark.parametrize("written", NUMBERS)
def test_a_number_is_written_as_one_wherever_it_stands(tmp_path: Path, written: str) -> None:
    file, base = tmp_path / "r.yaml", tmp_path / "base.yaml"
    file.write_text(f"name: x\nseed: {written}\n")
    base.write_text("name: x\n")
    for recipe, overlays, settings, place in (
        (file, [], [], f"{file}:2"),
        (base, [file], [], f"{file}:2"),
        (base, [], [f"seed={written}"], f"--set seed={written}"),
        (base, [], [f"rl.lora={{rank: {written}}}"], f"--set rl.lora={{rank: {written}}}"),
    ):
        with pytest.raises(RecipeError) as error:
            load_recipe(recipe, overlays, settings)
        assert str(error.value).startswith(f"{place}: 'seed' is") or "'rl.lora.rank' is" in str(error.value)
        assert "valid integer. Write only digits" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("written", [".inf", "-.inf", ".nan", "1e999"])
def test_numbers_are_finite(tmp_path: Path, written: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"rl:\n  learning_rate: {written}\n")
    with pytest.raises(
        RecipeError, match=r"r\.yaml:2: 'rl\.learning_rate' is .*finite number\. The default is 0\.0001"
    ):
        load_recipe(path)


def test_words_stay_words(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    for written in ("no", "2026-01-01", "190:20:30", "0777"):
        path.write_text(f"name: {written}\n")
        assert load_recipe(path).name == written
    path.write_text("name: 12\n")
    with pytest.raises(RecipeError, match=r"r\.yaml:1: 'name' is 12: .*valid string\. Put text .* into quotes"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("text", "line", "cause"),
    [
        ("models:\n  feedback:\n    - {a: 1,\n       a: 2}\n", 4, "duplicate key 'a' in 'models.feedback'"),
        ("x: &x {a: 1}\nrl:\n  <<: *x\n", 3, "'rl' has a merge key ('<<'), and merge keys are not read"),
        ("rl: !!python/object:os.x {steps: 1}\n", 1, "cannot be read: it is marked as tag:yaml.org"),
        ('name: x\nseed: "\\ud800"\n', 2, "half a character"),
        ('name: "\\UFFFFFFFF"\n', 1, "broken YAML"),
        ("seed: 1\n---\nseed: 2\n", 2, "another document"),
        (f"seed: 1\nname: {'9' * 5000}\n", 2, "a number of 5,000 digits"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, line: int, cause: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert error.value.place == f"{path}:{line}" and cause in str(error.value), str(error.value)


def test_utf_16_is_told_by_name(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes("name: x\n".encode("utf-16"))
    with pytest.raises(RecipeError, match="it is UTF-16"):
        load_recipe(path)


words = st.sampled_from([word for word, _ in WORDS] + NUMBERS + ["y", "ON", "1e3", "0o7", "12:30", "-", "#", ".NaN"])


@given(st.one_of(words, st.text(st.characters(exclude_categories=["Cs"]), max_size=8)))
def test_what_is_written_is_read_alike_by_yaml_1_1_and_here(word: str) -> None:
    text = yaml.dump({"key": word}, Dumper=Dumper)
    assert yaml.safe_load(text) == {"key": word}
    node = node_of(text, "there", RecipeError)
    assert node is not None
    assert YamlFile(Path("there"), RecipeError).value(node, "the whole") == {"key": word}


def test_settings_in_python_are_as_strict() -> None:
    nan = {"rl": {"kl_coef": float("nan")}}
    for wrong in ({"seed": True}, {"seed": "3"}, nan, {"feedback": {"axes": {"a": True}}}):
        with pytest.raises(ValueError, match=r"valid|finite"):
            Recipe.model_validate(wrong)
