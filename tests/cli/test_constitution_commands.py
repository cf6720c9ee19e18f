"""`solon constitution new`, `check` and `export --format yaml`, and the page that describes the file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from solon.config.builtin import DATA, built_in
from solon.config.loading import load_recipe
from solon.constitution.reader import load_constitution
from solon.errors import RecipeError
from solon.pipeline.constitution_needs import unmet_needs
from solon.testbed.principle_language import is_readable
from tests.cli.test_cli import run

PAGE = Path(__file__).parents[2] / "docs" / "constitution.md"
FAULTY = """\
name: house
colour: red
revision:
  - id: a
    critique_request: Say.
    revision_request:
  - id: a
    critique_reqest: Say.
    revision_request: [x]
    weight: heavy
  - just words
preference: none
examples:
  critique:
    - conversation:
        - {role: judge, content: hi}
        - {role: human}
      critique: c
      critique: d
  reasoned:
    - {conversation: hello, option_a: a, option_b: b, reasoning: r, answer: C}
"""


def test_every_fault_is_reported_with_its_line_and_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "house.yaml"
    path.write_text(FAULTY)
    code, out, err = run(capsys, "constitution", "check", path)
    faults = [re.sub(rf"^Error: {re.escape(str(path))}:", "", line) for line in err.splitlines()]
    assert (code, out) == (1, "")
    assert [(int(line.split(":")[0]), re.findall(r"'([\w]+)'", line)[:1]) for line in faults[:-1]] == [
        (2, ["colour"]),
        (6, ["revision_request"]),
        (7, ["critique_request"]),
        (7, ["a"]),
        (8, ["critique_reqest"]),
        (9, ["revision_request"]),
        (10, ["weight"]),
        (11, []),
        (12, ["preference"]),
        (15, ["critique_request"]),
        (15, ["revision_request"]),
        (15, ["revision"]),
        (16, ["judge"]),
        (17, ["content"]),
        (19, ["critique"]),
        (21, ["answer"]),
        (21, ["conversation"]),
    ], err
    assert faults[-1] == f"17 faults in {path}"
    path.write_text(FAULTY.splitlines()[0])
    code, _, err = run(capsys, "constitution", "check", path)
    assert code == 1 and err.count("\n") == 3 and "no revision principles" in err and "no preference principles" in err


def test_what_new_writes_is_well_formed_and_serves_every_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "deep" / "mine.yaml"
    code, out, err = run(capsys, "constitution", "new", path)
    assert (code, err) == (0, "") and f"solon constitution check {path}" in out
    made = load_constitution(path)
    assert made.critique_examples and made.comparison_examples and made.reasoned_examples
    any_of_mine = ("--recipe", "real", "--set", "revision.choose_by=null")
    for arguments in ((), any_of_mine, (*any_of_mine, "--set", "feedback.form=reasoned")):
        code, out, err = run(capsys, "constitution", "check", path, *arguments)
        assert (code, err) == (0, "") and "well formed: 2 revision and 2 preference" in out
    before = path.read_bytes()
    code, out, err = run(capsys, "constitution", "new", path)
    assert (code, out) == (1, "") and "the file exists" in err and path.read_bytes() == before


def test_all_that_a_recipe_misses_is_reported_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ("revision.few_shot=9", "revision.principles=[nothing]", "revision.choose_by=[kind]",
              "feedback.few_shot=9", "feedback.axes={tone: 1}", "preference.axis=taste")  # fmt: skip
    code, out, err = run(
        capsys, "constitution", "check", "harmlessness", "--recipe", "real", *(x for w in wanted for x in ("--set", w))
    )
    assert (code, out) == (1, "") and err.splitlines()[-1] == "6 faults in harmlessness"
    for place in (
        "revision.few_shot",
        "revision.principles",
        "revision.choose_by",
        "feedback.few_shot",
        "feedback.axes.tone",
        "preference.axis",
    ):
        assert f"Error: {place}: " in err
    for one in ("feedback.number_of_principles=99", "revision.number_of_principles=99"):
        code, _, err = run(capsys, "constitution", "check", "real-harmlessness", "--recipe", "real", "--set", one)
        assert code == 1 and err.startswith(f"Error: {one.split('=')[0]}: 99 ") and err.count("\n") == 1


def test_a_run_whose_constitution_lacks_something_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    code, _, err = run(capsys, "run", folder, "--recipe", "testbed", "--set", "revision.few_shot=3", "-q")
    assert code == 1 and "3 worked critiques are asked for" in err and not folder.exists()


def test_every_built_in_recipe_gets_what_it_wants() -> None:
    for name in built_in(DATA / "recipes", (".yaml",)):
        try:
            recipe = load_recipe(name)
        except RecipeError:  # an overlay
            continue
        from solon.config.builtin import constitution_path

        assert unmet_needs(recipe, load_constitution(constitution_path(recipe.constitution))) == [], name


def test_rules_that_the_bundled_models_cannot_read_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    run(capsys, "constitution", "new", path)
    code, _, err = run(capsys, "constitution", "check", path, "--recipe", "testbed")
    assert code == 0 and err.startswith("Warning: 4 of 4 principles") and "solon testbed words" in err
    text = (DATA / "constitutions" / "testbed.yaml").read_text()
    path.write_text(text.replace("theft, fraud or vandalism", "THEFT or fraud", 1))
    assert run(capsys, "constitution", "check", path, "--recipe", "testbed")[2] == ""
    path.write_text(text.replace("theft, fraud or vandalism", "loud music", 1))
    _, _, err = run(capsys, "constitution", "check", path, "--recipe", "testbed")
    assert err.startswith("Warning: 1 of 32 principles") and "revision 'taking-and-wrecking'" in err
    assert run(capsys, "constitution", "check", path, "--recipe", "real", "--set", "revision.choose_by=null")[::2] == (
        0,
        "",
    ), "other models read anything"


def test_the_testbed_s_own_rules_are_readable() -> None:
    for name in ("testbed", "testbed-without-privacy"):
        made = load_constitution(DATA / "constitutions" / f"{name}.yaml")
        for rule in made.revision:
            assert is_readable("critique", rule.critique_request) and is_readable("revision", rule.revision_request)
        assert all(is_readable("comparison", rule.instruction) for rule in made.preference)
    assert not is_readable("critique", "Check the response for .") and not is_readable("revision", "Be kind.")


def test_built_in_constitutions_are_exported_as_they_stand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in built_in(DATA / "constitutions", (".yaml",)):
        code, out, _ = run(capsys, "constitution", "export", name, "--format", "yaml", "--output", tmp_path)
        assert code == 0 and out == f"Wrote {tmp_path / name}.yaml\n"
        assert (tmp_path / f"{name}.yaml").read_bytes() == (DATA / "constitutions" / f"{name}.yaml").read_bytes()
    code, _, err = run(capsys, "constitution", "export", "testbed", "--format", "yaml", "--output", tmp_path)
    assert code == 1 and "the file exists" in err


def test_the_example_of_the_page_is_a_constitution(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    path = tmp_path / "house.yaml"
    path.write_text(example, encoding="utf-8")
    made = load_constitution(path)
    assert (made.name, len(made.revision), len(made.preference)) == ("house", 2, 2)
    assert [turn.content for turn in made.comparison_examples[0].conversation.turns] == [
        "Does my son borrow horror novels?", "May I ask why?", "I want to forbid them.",
    ]  # fmt: skip
    assert made.reasoned_examples[0].answer == "A"
    assert run(capsys, "constitution", "check", path)[0] == 0
