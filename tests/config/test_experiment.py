from pathlib import Path

import pytest

from solon.config import recipe
from solon.config.builtin import DATA
from solon.config.experiment import AblationMeasure, load_experiment, trials_of
from solon.errors import RecipeError

GOOD = """\
name: mine
question: Does it help?
measure: revisions
variants:
  - name: without
  - name: with
    settings: {revision.few_shot: 2, seed: 7}
"""


def write(folder: Path, text: str) -> Path:
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    return folder / "mine.yaml"


@pytest.mark.parametrize("name", sorted(path.stem for path in (DATA / "ablations").iterdir()))
def test_what_is_built_in_resolves(name: str) -> None:
    experiment = load_experiment(name)
    assert experiment.name == name
    assert [each.folder for each in trials_of(experiment, "testbed")] == [each.name for each in experiment.variants]


def test_the_papers_variants_are_there() -> None:
    principles, steps, modes_of = (
        [trial.recipe for trial in trials_of(load_experiment(name), "testbed")]
        for name in ("principles", "sl-cai-n", "critique-or-direct")
    )
    assert [each.revision.number_of_principles for each in principles] == [1, 2, 4, 8, 16]
    assert [each.finetune.revisions for each in steps] == [1, 2, 3, 4]
    modes = [each.revision.mode.value for each in modes_of]
    assert modes == ["critiqued", "direct"]


def test_a_variants_settings_win_over_those_for_all(tmp_path: Path) -> None:
    experiment = load_experiment(write(tmp_path, GOOD))
    trials = trials_of(experiment, "testbed", settings=["seed=3", "revision.steps=2"])
    assert experiment.measure is AblationMeasure.REVISIONS
    assert [(each.seed, each.recipe.revision.steps, each.recipe.revision.few_shot) for each in trials] == [
        (3, 2, 0), (7, 2, 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "line", "cause"),
    [
        (
            "measure: revisions",
            "measure: harm",
            3,
            "'measure' is 'harm': input should be 'revisions', 'sl-cai', 'preference-model' or 'models'",
        ),
        ("name: with\n", "name: ../up\n", 6, "'variants.1.name' is '../up': string should match pattern"),
        ("name: with\n", "name: without\n", 4, "two variants are named 'without'"),
        ("question", "qestion", 1, "the setting 'question' is missing"),
        (
            "    settings:",
            "    setings:",
            7,
            "unknown setting 'variants.1.setings'. Did you mean 'variants.1.settings'?",
        ),
        ("{revision.few_shot: 2", "{revision.few_shot: 2: 3", 7, "broken YAML"),
    ],
)
def test_faults_are_told_by_line(tmp_path: Path, old: str, new: str, line: int, cause: str) -> None:
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(RecipeError) as caught:
        load_experiment(path)
    assert cause in str(caught.value)
    assert caught.value.place == f"{path}:{line}"


def test_unknown_names_and_settings_are_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="Did you mean 'principles'"):
        load_experiment("principle")
    experiment = load_experiment(write(tmp_path, GOOD.replace("revision.few_shot", "revision.fewshot")))
    with pytest.raises(RecipeError, match=r"unknown setting 'revision\.fewshot'\. Did you mean 'revision\.few_shot'"):
        trials_of(experiment, "testbed")


def test_without_a_rater_nothing_could_be_said() -> None:
    with pytest.raises(RecipeError, match="needs a grader"):
        trials_of(load_experiment("revisions"), "testbed", settings=["measure.grader=none"])


def test_variants_of_different_graders_do_not_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "registered", lambda group, built_in: ("own",))
    experiment = load_experiment(write(tmp_path, GOOD.replace("revision.few_shot: 2", "measure.grader: own")))
    with pytest.raises(RecipeError, match=r"different graders \(own, testbed\), and their labels do not compare"):
        trials_of(experiment, "testbed")
    assert len(trials_of(experiment, "testbed", settings=["measure.grader=own"])) == 2
